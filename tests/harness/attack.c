#include "harness/attack.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define ANSWER_PATIENCE_MS 20000

/* --- what a process holds --- */

attack_gauge_t attack_gauge(pid_t pid)
{
    attack_gauge_t gauge = {0, 0};
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *fds = opendir(path);
    if (fds == NULL)
        FAIL("the service is gone: %s: %s", path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(fds)) != NULL;)
        gauge.descriptors += entry->d_name[0] != '.';
    closedir(fds);
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *in = fopen(path, "re");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0)
            gauge.rss_kb = atol(line + 6);
    if (in != NULL)
        fclose(in);
    return gauge;
}

long long attack_metric(const test_stack_t *stack, const char *name)
{
    web_answer_t metrics = ADMIN(stack, .path = "/metrics");
    EXPECT_STATUS(metrics, 200);
    const char *at = strstr(metrics.body, test_text("\nholdfast_%s ", name));
    if (at == NULL)
        FAIL("no metric %s", name);
    return atoll(strchr(at + 1, ' '));
}

unsigned attack_raise_open_files(unsigned wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        FAIL("no limit of open files: %s", strerror(errno));
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur < wanted ? (unsigned)limit.rlim_cur : wanted;
}

/* --- a buyer meanwhile --- */

/* Not on the stack of a case: one that fails leaves its buyer behind. */
static struct {
    const test_stack_t *stack;
    const char *sku;
    bool keeps_connection, running;
    atomic_bool stop;
    atomic_uint created;
    atomic_uint other; /* any other answer, or none */
    char odd[512];     /* the first of these */
    double slowest_s;
    pthread_t thread;
} buyer;

static web_answer_t buy_over(int *fd, unsigned i)
{
    const char *body =
        test_text("{\"sku\":\"%s\",\"buyer_id\":\"kept-%u\",\"quantity\":1}", buyer.sku, i);
    const char *request = test_text("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: "
                                    "%zu\r\n\r\n%s",
                                    strlen(body), body);
    web_answer_t none = {.error = "no connection", .body = ""};
    if (*fd < 0 && (*fd = web_connect(buyer.stack->url)) < 0)
        return none;
    if (write(*fd, request, strlen(request)) != (ssize_t)strlen(request))
        return none;
    return web_read(*fd, ANSWER_PATIENCE_MS);
}

static void *buy_all_the_time(void *context)
{
    int fd = -1;
    (void)context;
    for (unsigned i = 0; !atomic_load(&buyer.stop); ++i) {
        long long began = test_clock_ms();
        web_answer_t answer = buyer.keeps_connection ? buy_over(&fd, i)
                                                     : sale_buy(buyer.stack, buyer.sku,
                                                                test_text("steady-%u", i), 1, NULL);
        double seconds = (double)(test_clock_ms() - began) / 1000;
        buyer.slowest_s = seconds > buyer.slowest_s ? seconds : buyer.slowest_s;
        if (answer.status == 201)
            atomic_fetch_add(&buyer.created, 1);
        else if (atomic_fetch_add(&buyer.other, 1) == 0)
            snprintf(buyer.odd, sizeof(buyer.odd), "%s", web_show(&answer));
        usleep(20000);
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

void attack_buyer_start(const test_stack_t *stack, const char *sku, bool keeps_connection)
{
    buyer.stack = stack;
    buyer.sku = sku;
    buyer.keeps_connection = keeps_connection;
    buyer.other = 0;
    buyer.slowest_s = 0;
    atomic_store(&buyer.created, 0);
    atomic_store(&buyer.stop, false);
    EXPECT_NUMBER(pthread_create(&buyer.thread, NULL, buy_all_the_time, NULL), 0);
    buyer.running = true;
}

unsigned attack_buyer_created(void)
{
    return atomic_load(&buyer.created);
}

static void end_buyer(void)
{
    atomic_store(&buyer.stop, true);
    if (buyer.running)
        pthread_join(buyer.thread, NULL);
    buyer.running = false;
}

void attack_buyer_stop(unsigned created_min)
{
    WAIT_UNTIL(attack_buyer_created() >= created_min || buyer.other != 0);
    end_buyer();
    print_message("    a buyer meanwhile: %u orders, the slowest took %.3f s\n",
                  attack_buyer_created(), buyer.slowest_s);
    EXPECT(buyer.other == 0, "%u answers were not 201, the first: %s", buyer.other, buyer.odd);
}

int attack_teardown(void **state)
{
    end_buyer();
    return test_teardown(state);
}

/* --- connections --- */

int attack_connect(const char *base)
{
    int fd = web_connect(base);
    if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

size_t attack_send(int fd, const void *bytes, size_t n, int patience_ms)
{
    size_t sent = 0;
    while (sent < n) {
        ssize_t one = send(fd, (const char *)bytes + sent, n - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (one > 0) {
            sent += (size_t)one;
            continue;
        }
        struct pollfd writable = {.fd = fd, .events = POLLOUT};
        if (errno != EAGAIN || poll(&writable, 1, patience_ms) != 1 ||
            (writable.revents & (POLLERR | POLLHUP)) != 0)
            break;
    }
    return sent;
}

bool attack_is_closed(int fd, int patience_ms)
{
    long long end = test_clock_ms() + patience_ms;
    char bytes[65536];
    for (;;) {
        ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return true;
        if (n > 0)
            continue;
        if (test_clock_ms() >= end)
            return false;
        poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 50);
    }
}

void attack_reset(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
}

/* --- HTTP/2 --- */

static void add(h2_bytes_t *out, const void *bytes, size_t n)
{
    if (out->n + n > out->capacity) {
        size_t capacity = 2 * (out->n + n) + 256;
        uint8_t *more = test_bytes(capacity);
        if (out->n != 0)
            memcpy(more, out->bytes, out->n);
        out->bytes = more;
        out->capacity = capacity;
    }
    if (n != 0)
        memcpy(out->bytes + out->n, bytes, n);
    out->n += n;
}

void h2_add_frame(h2_bytes_t *out, int type, int flags, uint32_t stream, const void *payload,
                  size_t n)
{
    const uint8_t head[9] = {
        (uint8_t)(n >> 16),      (uint8_t)(n >> 8),      (uint8_t)n,
        (uint8_t)type,           (uint8_t)flags,         (uint8_t)(stream >> 24),
        (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
    add(out, head, sizeof(head));
    add(out, payload, n);
}

void h2_add_preface(h2_bytes_t *out)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    add(out, preface, sizeof(preface) - 1);
    h2_add_frame(out, H2_SETTINGS, 0, 0, NULL, 0);
}

void h2_add_setting(h2_bytes_t *out, uint16_t id, uint32_t value)
{
    const uint8_t payload[6] = {(uint8_t)(id >> 8),     (uint8_t)id,
                                (uint8_t)(value >> 24), (uint8_t)(value >> 16),
                                (uint8_t)(value >> 8),  (uint8_t)value};
    h2_add_frame(out, H2_SETTINGS, 0, 0, payload, sizeof(payload));
}

/* HPACK: a literal that goes into no table; lengths below 127. */
static void add_header(h2_bytes_t *out, const char *name, const char *value)
{
    size_t name_n = strlen(name), value_n = strlen(value);
    EXPECT(name_n < 127 && value_n < 127, "too long: %s: %s", name, value);
    add(out, &(uint8_t){0}, 1);
    add(out, &(uint8_t){(uint8_t)name_n}, 1);
    add(out, name, name_n);
    add(out, &(uint8_t){(uint8_t)value_n}, 1);
    add(out, value, value_n);
}

h2_bytes_t h2_header_block(const char *method, const char *path)
{
    h2_bytes_t block = {NULL, 0, 0};
    add_header(&block, ":method", method);
    add_header(&block, ":scheme", "http");
    add_header(&block, ":authority", "h");
    add_header(&block, ":path", path);
    return block;
}

void h2_add_request(h2_bytes_t *out, uint32_t stream, const char *method, const char *path,
                    const char *body)
{
    h2_bytes_t block = h2_header_block(method, path);
    h2_add_frame(out, H2_HEADERS, H2_END_HEADERS | (body == NULL ? H2_END_STREAM : 0), stream,
                 block.bytes, block.n);
    if (body != NULL)
        h2_add_frame(out, H2_DATA, H2_END_STREAM, stream, body, strlen(body));
}

void h2_add_reset(h2_bytes_t *out, uint32_t stream)
{
    h2_add_frame(out, H2_RST_STREAM, 0, stream, "\0\0\0\x08", 4); /* CANCEL */
}

static bool read_exactly(int fd, uint8_t *out, size_t n, long long end_ms)
{
    while (n != 0) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        long long left = end_ms - test_clock_ms();
        if (left <= 0 || poll(&readable, 1, (int)left) != 1)
            return false;
        ssize_t got = recv(fd, out, n, MSG_DONTWAIT);
        if (got <= 0)
            return false;
        out += got;
        n -= (size_t)got;
    }
    return true;
}

bool h2_read_frame(int fd, h2_frame_t *out, int patience_ms)
{
    uint8_t head[9];
    long long end_ms = test_clock_ms() + patience_ms;
    if (!read_exactly(fd, head, sizeof(head), end_ms))
        return false;
    *out = (h2_frame_t){.length = (unsigned)(head[0] << 16 | head[1] << 8 | head[2]),
                        .type = head[3],
                        .flags = head[4],
                        .stream = (uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 |
                                  (uint32_t)head[7] << 8 | head[8]};
    return out->length <= sizeof(out->payload) &&
           read_exactly(fd, out->payload, out->length, end_ms);
}

int h2_connect(const char *base)
{
    h2_bytes_t preface = {NULL, 0, 0};
    int fd = attack_connect(base);
    EXPECT(fd >= 0, "no connection");
    h2_add_preface(&preface);
    EXPECT_NUMBER(attack_send(fd, preface.bytes, preface.n, 5000), preface.n);
    return fd;
}
