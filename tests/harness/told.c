#include "told.h"

/* Of one statement. */
#define IDS_MAX 500

static void free_book(void *context)
{
    told_book_t *book = context;
    free(book->all);
    free(book);
}

told_book_t *told_new(const test_stack_t *stack)
{
    told_book_t *book = calloc(1, sizeof(*book));
    if (book == NULL)
        abort();
    book->stack = stack;
    test_keep(book, free_book);
    return book;
}

void told_plan(told_book_t *book, const char *sku, unsigned tag, const char *buyer, ...)
{
    va_list arguments;
    if (book->count == book->room) {
        book->room = book->room * 2 + 64;
        book->all = realloc(book->all, book->room * sizeof(*book->all));
        if (book->all == NULL)
            abort();
    }
    told_t *told = &book->all[book->count++];
    *told = (told_t){.sku = sku, .status = -1, .tag = tag};
    va_start(arguments, buyer);
    vsnprintf(told->buyer, sizeof(told->buyer), buyer, arguments);
    va_end(arguments);
}

typedef struct {
    told_book_t *book;
    unsigned from;
} asking_t;

static web_request_t next_request(void *context, unsigned i)
{
    const asking_t *asking = context;
    const told_t *told = &asking->book->all[asking->from + i];
    return sale_request(asking->book->stack, told->sku, told->buyer, 1, NULL);
}

static bool take_answer(void *context, unsigned i, const web_answer_t *answer)
{
    const asking_t *asking = context;
    told_t *told = &asking->book->all[asking->from + i];
    told->status = answer->status;
    told->seconds = answer->seconds;
    told->at_ms = test_clock_ms();
    told->body = test_text("%s", web_show(answer));
    /* The last part of Location; a refusal names its order only there. */
    const char *id = strrchr(answer->location, '/');
    snprintf(told->id, sizeof(told->id), "%s", id == NULL ? sale_id(answer) : id + 1);
    return true;
}

void told_ask(told_book_t *book, unsigned connections, unsigned burst, unsigned burst_ms)
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

unsigned told_count(const told_book_t *book, const char *sku, long status)
{
    unsigned count = 0;
    for (unsigned i = 0; i < book->count; i++)
        count += book->all[i].status == status && (sku == NULL || book->all[i].sku == sku);
    return count;
}

static bool is_plain(const told_t *told)
{
    if (told->status == 201 || told->status == 202)
        return told->id[0] != '\0';
    return told->status == 503 && strstr(told->body, "unavailable") != NULL;
}

void told_expect_plain(const char *file, int line, const told_book_t *book)
{
    for (unsigned i = 0; i < book->count; i++)
        if (!is_plain(&book->all[i]))
            test_fail(file, line, "%s of %s heard after %.1f s: %s", book->all[i].buyer,
                      book->all[i].sku, book->all[i].seconds, book->all[i].body);
}

/* The sum over all told orders for which `list` gives a text of what `format` counts of such a
   list, in statements of some hundred each. */
static long long count_listed(const told_book_t *book, const char *format,
                              const char *(*list)(const told_t *told))
{
    long long sum = 0;
    char *text = NULL;
    size_t size = 0;
    for (unsigned i = 0; i < book->count;) {
        unsigned listed = 0;
        FILE *out = open_memstream(&text, &size);
        for (; i < book->count && listed < IDS_MAX; i++) {
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

static const char *refused_buyer(const told_t *told)
{
    return told->status == 503 && told->id[0] == '\0'
               ? test_text("('%s','%s')", told->sku, told->buyer)
               : NULL;
}

static const char *promised_id(const told_t *told)
{
    return told->status == 201 || told->status == 202 ? rows_order_id(told->id) : NULL;
}

unsigned told_ghosts(const told_book_t *book)
{
    return (unsigned)count_listed(book,
                                  "SELECT COUNT(*) FROM orders WHERE state IN ('held', "
                                  "'confirmed') AND (sku, buyer_id) IN",
                                  refused_buyer);
}

static const char *state_of(const told_book_t *book, const told_t *told)
{
    web_answer_t order = sale_get(book->stack, told->id);
    return order.status == 200 ? sale_state(&order) : web_show(&order);
}

static bool is_kept(const told_t *told, const char *state, bool (*may_be_rejected)(unsigned tag))
{
    if (strcmp(state, "rejected") == 0)
        return told->status == 202 && may_be_rejected != NULL && may_be_rejected(told->tag);
    return strcmp(state, "confirmed") == 0 || strcmp(state, "held") == 0;
}

#define ALL "SELECT COUNT(*) FROM orders WHERE order_id IN"
#define LIVE "SELECT COUNT(*) FROM orders WHERE state IN ('held', 'confirmed') AND order_id IN"
#define SHOWN_MAX 10

void told_expect_kept(const char *file, int line, const told_book_t *book,
                      bool (*may_be_rejected)(unsigned tag))
{
    long long end = test_clock_ms() + TEST_WAIT_MS, promised = 0;
    unsigned broken = 0;
    for (unsigned i = 0; i < book->count; i++)
        promised += promised_id(&book->all[i]) != NULL;
    while (count_listed(book, ALL, promised_id) != promised && test_clock_ms() < end)
        usleep(100000);
    if (count_listed(book, LIVE, promised_id) == promised)
        return;
    for (unsigned i = 0; i < book->count; i++) {
        const told_t *told = &book->all[i];
        const char *state = promised_id(told) == NULL ? "confirmed" : state_of(book, told);
        if (!is_kept(told, state, may_be_rejected) && broken++ < SHOWN_MAX)
            print_error("%s of %s heard %ld of %s: %s\n", told->buyer, told->sku, told->status,
                        told->id, state);
    }
    if (broken != 0)
        test_fail(file, line, "%u of %lld promised orders are not live", broken, promised);
}

bool told_is_logged(const told_book_t *book, const char *sku)
{
    bool named = stack_log_has(book->stack, sku);
    for (unsigned i = 0; i < book->count && !named; i++) {
        const told_t *told = &book->all[i];
        named = told->sku == sku && told->id[0] != '\0' && stack_log_has(book->stack, told->id);
    }
    return named;
}

const char *told_show(const told_book_t *book)
{
    double slowest = 0;
    for (unsigned i = 0; i < book->count; i++)
        slowest = book->all[i].seconds > slowest ? book->all[i].seconds : slowest;
    return test_text("%u asked: 201 %u, 202 %u, 503 %u; slowest %.2f s", book->count,
                     told_count(book, NULL, 201), told_count(book, NULL, 202),
                     told_count(book, NULL, 503), slowest);
}
