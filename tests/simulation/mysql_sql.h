/*
 * The SQL that the service speaks: words, values, expressions. Statements are in mysql_server.c.
 *
 * A text becomes tokens; expressions are evaluated straight from them, over a row. What is not
 * known ends the program with the text: a new function or operator is a few lines in
 * mysql_sql.c.
 *
 * Numbers are 64-bit and signed, a DATETIME(3) is its milliseconds since 1970, an ENUM is its word.
 */
#ifndef HOLDFAST_SIMULATION_MYSQL_SQL_H
#define HOLDFAST_SIMULATION_MYSQL_SQL_H

#include "base/str.h"
#include "world.h"

typedef enum {
    VALUE_NULL,
    VALUE_INT,
    VALUE_BYTES,
    VALUE_SECONDS /* of UNIX_TIMESTAMP(), in ms: only to be multiplied by 1000 */
} value_kind_t;

typedef struct {
    uint8_t kind;
    uint32_t n;
    union {
        int64_t i;
        const char *p;
    };
} value_t;

#define VALUE_OF_INT(i_) ((value_t){.kind = VALUE_INT, .i = (i_)})
bool value_eq(const value_t *a, const value_t *b); /* NULL is NULL here */
/* Below 0, 0, above: as ORDER BY has it. */
int value_compare(const value_t *a, const value_t *b);
str_t value_text(const value_t *value, char scratch[32]);

/* Words that statements are made of have fixed numbers; others get the next. */
/* It never comes to rest on this list. */
/* clang-format off */
#define SQL_WORDS(X) \
    X(SELECT) X(FROM) X(WHERE) X(GROUP) X(BY) X(ORDER) X(LIMIT) X(FOR) X(UPDATE) X(SKIP) \
    X(LOCKED) X(INSERT) X(INTO) X(VALUES) X(SET) X(ON) X(DUPLICATE) X(KEY) X(START) \
    X(TRANSACTION) X(WITH) X(CONSISTENT) X(SNAPSHOT) X(ISOLATION) X(LEVEL) X(REPEATABLE) X(READ) \
    X(SERIALIZABLE) X(DO) X(AND) X(OR) X(NOT) X(IN) X(IS) X(NULL) X(BETWEEN) X(INTERVAL) \
    X(SECOND) X(MICROSECOND) X(NOW) X(GREATEST) X(LEAST) X(CAST) X(AS) X(UNSIGNED) X(SIGNED) \
    X(UNIX_TIMESTAMP) X(IF) X(COALESCE) X(CASE) X(WHEN) X(THEN) X(ELSE) X(END) X(SUM) X(COUNT) \
    X(MAX) X(MIN) X(DISTINCT) X(DESC) X(CREATE) X(TABLE) X(EXISTS) X(PRIMARY) X(UNIQUE) \
    X(CONSTRAINT) X(CHECK) X(DEFAULT) X(ALTER) X(MODIFY) X(ADD) X(DROP) X(COLUMN) X(INDEX) X(DELETE) X(DATETIME) X(VIRTUAL) \
    X(COMMENT) X(ENGINE) X(TRUE) X(FALSE) X(UNION) X(ALL) X(STRAIGHT_JOIN) X(FORCE)
/* clang-format on */
typedef enum {
    WORD_NONE,
#define X(word_) WORD_##word_,
    SQL_WORDS(X)
#undef X
        WORDS_FIXED
} word_t;
#define WORDS_MAX 512

typedef struct {
    enum { TOKEN_END, TOKEN_WORD, TOKEN_VALUE, TOKEN_SIGN } kind;
    unsigned word; /* of a word; of a sign: its character(s), see SIGN2 */
    value_t value;
    uint32_t at; /* where in the text */
} token_t;
#define SIGN2(a_, b_) ((unsigned)(a_) | (unsigned)(b_) << 8)

typedef struct {
    const char *text;
    size_t n;
    token_t *tokens; /* the last is TOKEN_END */
    unsigned count;
} sql_text_t;

/* Once, before all others. */
void sql_words_init(void);
/* Memory of the history, or of the program if `lasting`. */
sql_text_t sql_read(const char *text, size_t n, bool lasting);
/* As sql_read(), for a statement of a history; what is said again and again is read once. */
sql_text_t sql_read_again(const char *text, size_t n);
const char *sql_word_name(unsigned word);
_Noreturn void sql_unknown(const sql_text_t *text, unsigned at, const char *what);

struct table;

/* What names mean while an expression is evaluated. */
typedef struct scope {
    const sql_text_t *text;
    const struct table *table;
    const value_t *row;
    const value_t *incoming; /* VALUES(column) */
    const value_t *const *group;
    unsigned group_count;
    const struct scope *outer;
    uint64_t now_ms;
    /* (SELECT ...) within an expression; leaves *at behind it. */
    value_t (*subquery)(const struct scope *scope, unsigned *at);
    void *context;
} scope_t;

/* From *at on; leaves it behind the expression. */
value_t sql_value(const scope_t *scope, unsigned *at);
bool sql_is_true(const value_t *value);
/* Behind the expression that begins here, without evaluating it: to a comma, a closing bracket
   or a word that begins a clause. */
unsigned sql_skip(const sql_text_t *text, unsigned at);

static inline bool sql_word(const sql_text_t *text, unsigned at, word_t word)
{
    return text->tokens[at].kind == TOKEN_WORD && text->tokens[at].word == (unsigned)word;
}

static inline bool sql_sign(const sql_text_t *text, unsigned at, unsigned sign)
{
    return text->tokens[at].kind == TOKEN_SIGN && text->tokens[at].word == sign;
}

#endif
