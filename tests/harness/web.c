#include "web.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <strings.h>
#include <sys/socket.h>

#define CALL_TIMEOUT_MS 30000

/* One request under way. */
typedef struct {
    CURL *easy;
    struct curl_slist *headers;
    web_answer_t answer;
    char *body; /* of the answer */
    size_t length;
    unsigned index; /* in its crowd */
    bool busy;      /* likewise */
    char error[CURL_ERROR_SIZE];
} exchange_t;

static void init_curl_once(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static CURL *new_easy(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl_once);
    CURL *easy = curl_easy_init();
    if (easy == NULL)
        abort();
    return easy;
}

/* --- an answer as it comes in --- */

static void append(exchange_t *x, const char *bytes, size_t n)
{
    x->body = realloc(x->body, x->length + n + 1);
    if (x->body == NULL)
        abort();
    memcpy(x->body + x->length, bytes, n);
    x->length += n;
    x->body[x->length] = '\0';
}

static size_t on_body(char *bytes, size_t size, size_t n, void *context)
{
    append(context, bytes, size * n);
    return size * n;
}

static void take_header(web_answer_t *answer, const char *line, size_t n)
{
    const struct {
        const char *name;
        char *to;
        size_t size;
    } wanted[] = {
        {"location:", answer->location, sizeof(answer->location)},
        {"retry-after:", answer->retry_after, sizeof(answer->retry_after)},
        {"idempotency-replayed:", answer->replayed, sizeof(answer->replayed)},
        {"allow:", answer->allow, sizeof(answer->allow)},
        {"content-type:", answer->content_type, sizeof(answer->content_type)},
        {"etag:", answer->etag, sizeof(answer->etag)},
        {"age:", answer->age, sizeof(answer->age)},
        {"cache-control:", answer->cache_control, sizeof(answer->cache_control)},
        {"holdfast-stale:", answer->stale, sizeof(answer->stale)},
        {"accept:", answer->taken, sizeof(answer->taken)},
        {"accept-patch:", answer->taken, sizeof(answer->taken)},
        {"accept-encoding:", answer->taken, sizeof(answer->taken)},
    };
    while (n > 0 && (line[n - 1] == '\r' || line[n - 1] == '\n'))
        --n;
    for (size_t i = 0; i < TEST_COUNT(wanted); ++i) {
        size_t name = strlen(wanted[i].name);
        if (n < name || strncasecmp(line, wanted[i].name, name) != 0)
            continue;
        while (name < n && line[name] == ' ')
            ++name;
        snprintf(wanted[i].to, wanted[i].size, "%.*s", (int)(n - name), line + name);
    }
}

static size_t on_header(char *line, size_t size, size_t n, void *context)
{
    exchange_t *x = context;
    take_header(&x->answer, line, size * n);
    return size * n;
}

/* --- a request as it goes out --- */

static void add_header(exchange_t *x, const char *format, const char *value)
{
    char *line = NULL;
    if (asprintf(&line, format, value) < 0)
        abort();
    x->headers = curl_slist_append(x->headers, line);
    free(line);
}

static void set_body(exchange_t *x, const web_request_t *request)
{
    const char *type = request->content_type;
    if (request->body == NULL) {
        if (request->method != NULL && strcmp(request->method, "GET") != 0)
            curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, request->method);
        return;
    }
    size_t n = request->body_length != 0 ? request->body_length : strlen(request->body);
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
    curl_easy_setopt(x->easy, CURLOPT_COPYPOSTFIELDS, request->body);
    if (request->method != NULL && strcmp(request->method, "POST") != 0)
        curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, request->method);
    if (type == NULL)
        type = "application/json";
    if (*type == '\0')
        x->headers = curl_slist_append(x->headers, "Content-Type:"); /* sends none */
    else
        add_header(x, "Content-Type: %s", type);
    x->headers = curl_slist_append(x->headers, "Expect:");
}

static void prepare(exchange_t *x, const web_request_t *request)
{
    char *url = NULL;
    if (asprintf(&url, "%s%s", request->base, request->path) < 0)
        abort();
    curl_easy_reset(x->easy);
    x->answer = (web_answer_t){0};
    curl_easy_setopt(x->easy, CURLOPT_URL, url);
    free(url);
    curl_easy_setopt(x->easy, CURLOPT_PROXY, "");
    /* It is this very machine, whatever name its certificate has: test_tls asks for that. */
    curl_easy_setopt(x->easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(x->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(x->easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(x->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(x->easy, CURLOPT_TIMEOUT_MS,
                     (long)(request->timeout_ms != 0 ? request->timeout_ms : CALL_TIMEOUT_MS));
    curl_easy_setopt(x->easy, CURLOPT_FRESH_CONNECT, request->sent_once ? 1L : 0L);
    curl_easy_setopt(x->easy, CURLOPT_FORBID_REUSE, request->sent_once ? 1L : 0L);
    curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(x->easy, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->error);
    curl_easy_setopt(x->easy, CURLOPT_PRIVATE, x);
    set_body(x, request);
    if (request->key != NULL)
        add_header(x, "Idempotency-Key: %s", request->key);
    if (request->token != NULL)
        add_header(x, "Authorization: Bearer %s", request->token);
    for (size_t i = 0; i < TEST_COUNT(request->headers) && request->headers[i] != NULL; ++i)
        x->headers = curl_slist_append(x->headers, request->headers[i]);
    curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
    x->error[0] = '\0';
}

/* Everything of `x->answer` but who owns its body and JSON: those stay with the caller. */
static void complete(exchange_t *x, CURLcode code)
{
    web_answer_t *answer = &x->answer;
    curl_slist_free_all(x->headers);
    x->headers = NULL;
    if (x->body == NULL)
        append(x, "", 0);
    answer->body = x->body;
    answer->body_length = x->length;
    if (code == CURLE_OK)
        curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &answer->status);
    answer->refused = code == CURLE_COULDNT_CONNECT;
    answer->error = x->error[0] != '\0' ? x->error : curl_easy_strerror(code);
    curl_easy_getinfo(x->easy, CURLINFO_TOTAL_TIME, &answer->seconds);
    answer->json = cJSON_ParseWithLength(x->body, x->length);
}

static void free_json(void *json)
{
    cJSON_Delete(json);
}

/* From now on until test_forget(). */
static web_answer_t keep(const web_answer_t *lent, char *body)
{
    web_answer_t answer = *lent;
    test_keep(body, free);
    test_keep((void *)lent->json, free_json);
    answer.error = lent->status == 0 ? test_text("%s", lent->error) : "";
    return answer;
}

web_answer_t web_call(const web_request_t *request)
{
    exchange_t x = {.easy = new_easy()};
    prepare(&x, request);
    complete(&x, curl_easy_perform(x.easy));
    web_answer_t answer = keep(&x.answer, x.body);
    curl_easy_cleanup(x.easy);
    return answer;
}

/* --- crowds --- */

typedef struct {
    const web_crowd_t *crowd;
    CURLM *multi;
    exchange_t *exchanges;
    unsigned next, under_way;
    bool stopped;
    long long begun_ms;
} crowd_run_t;

static bool may_start(const crowd_run_t *run)
{
    const web_crowd_t *crowd = run->crowd;
    if (run->stopped || run->next == crowd->count)
        return false;
    if (crowd->burst == 0)
        return true;
    long long due_ms = (long long)(run->next / crowd->burst) * crowd->burst_ms;
    return test_clock_ms() - run->begun_ms >= due_ms;
}

static void start_next(crowd_run_t *run, exchange_t *x)
{
    x->index = run->next++;
    x->busy = true;
    web_request_t request = run->crowd->request(run->crowd->context, x->index);
    prepare(x, &request);
    curl_multi_add_handle(run->multi, x->easy);
    ++run->under_way;
}

static void start_all_due(crowd_run_t *run)
{
    for (unsigned i = 0; i < run->crowd->connections && may_start(run); ++i) {
        if (!run->exchanges[i].busy)
            start_next(run, &run->exchanges[i]);
    }
}

static void finish_one(crowd_run_t *run, const CURLMsg *message)
{
    exchange_t *x = NULL;
    CURL *easy = message->easy_handle;
    CURLcode code = message->data.result;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&x);
    curl_multi_remove_handle(run->multi, easy);
    --run->under_way;
    complete(x, code);
    if (!run->crowd->answered(run->crowd->context, x->index, &x->answer))
        run->stopped = true;
    cJSON_Delete((cJSON *)x->answer.json);
    free(x->body);
    x->body = NULL;
    x->length = 0;
    x->busy = false;
}

static void crowd_turn(crowd_run_t *run)
{
    int running, left;
    const CURLMsg *message;
    start_all_due(run);
    curl_multi_perform(run->multi, &running);
    while ((message = curl_multi_info_read(run->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE)
            finish_one(run, message);
    }
    start_all_due(run);
    curl_multi_perform(run->multi, &running);
    curl_multi_poll(run->multi, NULL, 0, run->crowd->burst != 0 ? 5 : 50, NULL);
}

void web_crowd(const web_crowd_t *crowd)
{
    crowd_run_t run = {.crowd = crowd, .begun_ms = test_clock_ms()};
    run.exchanges = calloc(crowd->connections, sizeof(*run.exchanges));
    if (run.exchanges == NULL)
        abort();
    for (unsigned i = 0; i < crowd->connections; ++i)
        run.exchanges[i].easy = new_easy();
    run.multi = curl_multi_init();
    curl_multi_setopt(run.multi, CURLMOPT_MAXCONNECTS, (long)crowd->connections);
    while (run.under_way != 0 || (!run.stopped && run.next < crowd->count))
        crowd_turn(&run);
    for (unsigned i = 0; i < crowd->connections; ++i)
        curl_easy_cleanup(run.exchanges[i].easy);
    curl_multi_cleanup(run.multi);
    free(run.exchanges);
}

/* --- raw --- */

int web_connect(const char *base)
{
    unsigned port = 0;
    char host[64] = "";
    if (sscanf(base, "http://%63[^:]:%u", host, &port) != 2 &&
        sscanf(base, "https://%63[^:]:%u", host, &port) != 2)
        FAIL("no address in %s", base);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

unsigned web_free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&at, n) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) != 0)
        FAIL("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(at.sin_port);
}

/* Where the body begins, or NULL: the head is not whole yet. */
static const char *body_of(const exchange_t *x)
{
    const char *end = x->length == 0 ? NULL : memmem(x->body, x->length, "\r\n\r\n", 4);
    return end == NULL ? NULL : end + 4;
}

static bool is_whole(const exchange_t *x)
{
    const char *body = body_of(x),
               *length = body == NULL ? NULL : strcasestr(x->body, "\r\ncontent-length:");
    if (body != NULL && strncmp(x->body, "HTTP/1.1 204", 12) == 0)
        return true; /* it has no body, and no length */
    if (length == NULL || length > body)
        return false;
    return (size_t)strtoul(length + 17, NULL, 10) <= x->length - (size_t)(body - x->body);
}

static void parse_raw(exchange_t *x)
{
    const char *body = body_of(x);
    web_answer_t *answer = &x->answer;
    if (body == NULL || sscanf(x->body, "HTTP/1.%*d %ld", &answer->status) != 1) {
        answer->status = 0;
        answer->error = "closed, or silent";
        return;
    }
    for (const char *line = x->body; line < body;) {
        const char *end = memchr(line, '\n', (size_t)(body - line));
        take_header(answer, line, (size_t)(end - line));
        line = end + 1;
    }
    answer->body = body;
    answer->body_length = x->length - (size_t)(body - x->body);
    answer->json = cJSON_ParseWithLength(answer->body, answer->body_length);
}

web_answer_t web_read(int fd, int patience_ms)
{
    exchange_t x = {0};
    char chunk[4096];
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    append(&x, "", 0);
    while (!is_whole(&x) && poll(&readable, 1, patience_ms) == 1) {
        ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
        if (n <= 0)
            break;
        append(&x, chunk, (size_t)n);
    }
    x.answer.body = x.body;
    x.answer.body_length = x.length;
    parse_raw(&x);
    return keep(&x.answer, x.body);
}

/* Reads even if the server does not want to read all of it. */
static void send_all(int fd, const char *bytes, size_t length, int patience_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN | POLLOUT};
    while (length > 0 && poll(&ready, 1, patience_ms) == 1) {
        if (ready.revents & (POLLIN | POLLHUP | POLLERR))
            return;
        ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return;
        bytes += n;
        length -= (size_t)n;
    }
}

web_answer_t web_raw(const char *base, const void *bytes, size_t length, int patience_ms)
{
    int fd = web_connect(base);
    if (fd < 0)
        return (web_answer_t){.refused = true, .error = "no connection", .body = ""};
    send_all(fd, bytes, length, patience_ms);
    web_answer_t answer = web_read(fd, patience_ms);
    close(fd);
    return answer;
}

/* --- what is in an answer --- */

static const cJSON *member_of(const web_answer_t *answer, const char *member)
{
    return cJSON_GetObjectItemCaseSensitive(answer->json, member);
}

const char *web_string(const web_answer_t *answer, const char *member)
{
    return cJSON_GetStringValue(member_of(answer, member));
}

long long web_number(const web_answer_t *answer, const char *member)
{
    const cJSON *value = member_of(answer, member);
    if (!cJSON_IsNumber(value))
        FAIL("no number \"%s\" in %s", member, web_show(answer));
    return (long long)value->valuedouble;
}

const char *web_show(const web_answer_t *answer)
{
    if (answer->status == 0)
        return test_text("no answer (%s)", answer->error);
    return test_text("%ld %s: %.600s", answer->status, answer->content_type, answer->body);
}

void web_expect_status(const char *file, int line, const web_answer_t *answer, long status)
{
    if (answer->status != status)
        test_fail(file, line, "expected %ld, got %s", status, web_show(answer));
}

bool web_has_code(const web_answer_t *answer, const char *code)
{
    const char *has = web_string(answer, "code");
    return has != NULL && strcmp(has, code) == 0;
}

const char *web_problem_fault(const web_answer_t *answer)
{
    const cJSON *status = member_of(answer, "status");
    if (strncmp(answer->content_type, "application/problem+json", 24) != 0)
        return "not application/problem+json";
    if (answer->json == NULL)
        return "not JSON";
    if (web_string(answer, "code") == NULL)
        return "without code";
    if (status != NULL && (long)status->valuedouble != answer->status)
        return "its member status is not that of the answer";
    if ((answer->status == 503 || answer->status == 429) && answer->retry_after[0] == '\0')
        return "without Retry-After";
    if (answer->status == 405 && answer->allow[0] == '\0')
        return "without Allow";
    return NULL;
}

void web_expect_problem(const char *file, int line, const web_answer_t *answer, long status,
                        const char *code)
{
    web_expect_status(file, line, answer, status);
    const char *fault = web_problem_fault(answer);
    if (fault != NULL)
        test_fail(file, line, "a refusal %s: %s", fault, web_show(answer));
    if (!web_has_code(answer, code))
        test_fail(file, line, "expected code %s, got %s", code, web_show(answer));
}
