#include "received.h"

/* Of one statement. */
#define IDS_MAX 500

static void free_book(void *context)
{
    received_book_t *book = context;
    free(book->all);
    free(book);
}

received_book_t *received_new(const test_stack_t *stack)
{
    received_book_t *book = calloc(1, sizeof(*book));
    if (book == NULL)
        abort();
    book->stack = stack;
    test_keep(book, free_book);
    return book;
}

void received_plan(received_book_t *book, const char *sku, unsigned tag, const char *buyer, ...)
{
    va_list arguments;
    if (book->count == book->room) {
        book->room = book->room * 2 + 64;
        book->all = realloc(book->all, book->room * sizeof(*book->all));
        if (book->all == NULL)
            abort();
    }
    received_t *received = &book->all[book->count++];
    *received = (received_t){.sku = sku, .status = -1, .tag = tag};
    va_start(arguments, buyer);
    vsnprintf(received->buyer, sizeof(received->buyer), buyer, arguments);
    va_end(arguments);
}

typedef struct {
    received_book_t *book;
    unsigned from;
} asking_t;

static web_request_t next_request(void *context, unsigned i)
{
    const asking_t *asking = context;
    const received_t *received = &asking->book->all[asking->from + i];
    return sale_request(asking->book->stack, received->sku, received->buyer, 1, NULL);
}

static bool take_answer(void *context, unsigned i, const web_answer_t *answer)
{
    const asking_t *asking = context;
    received_t *received = &asking->book->all[asking->from + i];
    received->status = answer->status;
    received->seconds = answer->seconds;
    received->at_ms = test_clock_ms();
    received->body = test_text("%s", web_show(answer));
    /* The last part of Location; a refusal names its order only there. */
    const char *id = strrchr(answer->location, '/');
    snprintf(received->id, sizeof(received->id), "%s", id == NULL ? sale_id(answer) : id + 1);
    return true;
}

void received_send(received_book_t *book, unsigned connections, unsigned burst, unsigned burst_ms)
{
    asking_t asking = {.book = book, .from = book->count};
    while (asking.from != 0 && book->all[asking.from - 1].status == -1)
        --asking.from;
    web_crowd(&(web_crowd_t){.connections = connections,
                             .count = book->count - asking.from,
                             .burst = burst,
                             .burst_ms = burst_ms,
                             .request = next_request,
                             .answered = take_answer,
                             .context = &asking});
}

unsigned received_count(const received_book_t *book, const char *sku, long status)
{
    unsigned count = 0;
    for (unsigned i = 0; i < book->count; ++i)
        count += book->all[i].status == status && (sku == NULL || book->all[i].sku == sku);
    return count;
}

static bool is_plain(const received_t *received)
{
    if (received->status == 201 || received->status == 202)
        return received->id[0] != '\0';
    return received->status == 503 && strstr(received->body, "unavailable") != NULL;
}

void received_expect_valid(const char *file, int line, const received_book_t *book)
{
    for (unsigned i = 0; i < book->count; ++i)
        if (!is_plain(&book->all[i]))
            test_fail(file, line, "%s of %s heard after %.1f s: %s", book->all[i].buyer,
                      book->all[i].sku, book->all[i].seconds, book->all[i].body);
}

/* The sum over all told orders for which `list` gives a text of what `format` counts of such a
   list, in statements of some hundred each. */
static long long count_listed(const received_book_t *book, const char *format,
                              const char *(*list)(const received_t *received))
{
    long long sum = 0;
    char *text = NULL;
    size_t size = 0;
    for (unsigned i = 0; i < book->count;) {
        unsigned listed = 0;
        FILE *out = open_memstream(&text, &size);
        for (; i < book->count && listed < IDS_MAX; ++i) {
            const char *item = list(&book->all[i]);
            if (item != NULL)
                fprintf(out, listed++ == 0 ? "%s" : ",%s", item);
        }
        fclose(out);
        if (listed != 0)
            sum += rows_sum(book->stack, "%s (%s)", format, text);
        free(text);
    }
    return sum;
}

static const char *refused_buyer(const received_t *received)
{
    return received->status == 503 && received->id[0] == '\0'
               ? test_text("('%s','%s')", received->sku, received->buyer)
               : NULL;
}

static const char *promised_id(const received_t *received)
{
    return received->status == 201 || received->status == 202 ? rows_order_id(received->id) : NULL;
}

unsigned received_ghosts(const received_book_t *book)
{
    return (unsigned)count_listed(book,
                                  "SELECT COUNT(*) FROM orders WHERE state IN ('held', "
                                  "'confirmed') AND (sku, buyer_id) IN",
                                  refused_buyer);
}

static const char *state_of(const received_book_t *book, const received_t *received)
{
    web_answer_t order = sale_get(book->stack, received->id);
    return order.status == 200 ? sale_state(&order) : web_show(&order);
}

static bool is_kept(const received_t *received, const char *state,
                    bool (*may_be_rejected)(unsigned tag))
{
    if (strcmp(state, "rejected") == 0)
        return received->status == 202 && may_be_rejected != NULL && may_be_rejected(received->tag);
    return strcmp(state, "confirmed") == 0 || strcmp(state, "held") == 0;
}

#define ALL "SELECT COUNT(*) FROM orders WHERE order_id IN"
#define LIVE "SELECT COUNT(*) FROM orders WHERE state IN ('held', 'confirmed') AND order_id IN"
#define SHOWN_MAX 10

void received_expect_kept(const char *file, int line, const received_book_t *book,
                          bool (*may_be_rejected)(unsigned tag))
{
    long long end = test_clock_ms() + TEST_WAIT_MS, promised = 0;
    unsigned broken = 0;
    for (unsigned i = 0; i < book->count; ++i)
        promised += promised_id(&book->all[i]) != NULL;
    while (count_listed(book, ALL, promised_id) != promised && test_clock_ms() < end)
        usleep(100000);
    if (count_listed(book, LIVE, promised_id) == promised)
        return;
    for (unsigned i = 0; i < book->count; ++i) {
        const received_t *received = &book->all[i];
        const char *state = promised_id(received) == NULL ? "confirmed" : state_of(book, received);
        if (!is_kept(received, state, may_be_rejected) && broken++ < SHOWN_MAX)
            print_error("%s of %s heard %ld of %s: %s\n", received->buyer, received->sku,
                        received->status, received->id, state);
    }
    if (broken != 0)
        test_fail(file, line, "%u of %lld promised orders are not live", broken, promised);
}

bool received_is_logged(const received_book_t *book, const char *sku)
{
    bool named = stack_log_has(book->stack, sku);
    for (unsigned i = 0; i < book->count && !named; ++i) {
        const received_t *received = &book->all[i];
        named = received->sku == sku && received->id[0] != '\0' &&
                stack_log_has(book->stack, received->id);
    }
    return named;
}

const char *received_show(const received_book_t *book)
{
    double slowest = 0;
    for (unsigned i = 0; i < book->count; ++i)
        slowest = book->all[i].seconds > slowest ? book->all[i].seconds : slowest;
    return test_text("%u asked: 201 %u, 202 %u, 503 %u; slowest %.2f s", book->count,
                     received_count(book, NULL, 201), received_count(book, NULL, 202),
                     received_count(book, NULL, 503), slowest);
}
