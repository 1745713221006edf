#include "http/tokens.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fatal.h"
#include "base/secret.h"

#define NAME_TOKENS_MAX 2 /* of one name: the old one and the new one */
#define WORDS_MAX 4

struct tokens {
    unsigned count;
    token_t all[TOKENS_MAX];
};

/* --- roles --- */

static const char *const role_names[ROLE_COUNT] = {[ROLE_UNDECLARED] = "undeclared",
                                                   [ROLE_EVERYBODY] = "everybody",
                                                   [ROLE_READ] = "read",
                                                   [ROLE_OPERATE] = "operate",
                                                   [ROLE_SELL] = "sell"};

const char *role_name(role_t role)
{
    return role_names[role];
}

bool role_permits(role_t has, role_t demanded)
{
    switch (demanded) {
    case ROLE_EVERYBODY:
        return true;
    case ROLE_READ:
        return has == ROLE_READ || has == ROLE_OPERATE;
    case ROLE_OPERATE:
    case ROLE_SELL:
        return has == demanded;
    case ROLE_UNDECLARED:
    case ROLE_COUNT:
        break;
    }
    return false;
}

static role_t role_of(str_t word)
{
    for (role_t role = ROLE_READ; role < ROLE_COUNT; ++role)
        if (str_eq(word, str_of(role_names[role])))
            return role;
    return ROLE_UNDECLARED;
}

/* --- hashes --- */

EVP_MD_CTX *token_hasher_new(void)
{
    EVP_MD_CTX *hasher = alloc_check(EVP_MD_CTX_new());
    if (EVP_DigestInit_ex(hasher, EVP_sha256(), NULL) != 1)
        FATAL("SHA-256 for tokens", 0);
    return hasher;
}

void token_hash(EVP_MD_CTX *hasher, str_t token, unsigned char hash[TOKEN_HASH_BYTES])
{
    /* NULL: the digest that it has already, which is not looked up again. */
    if (EVP_DigestInit_ex(hasher, NULL, NULL) != 1 ||
        EVP_DigestUpdate(hasher, token.p, token.n) != 1 ||
        EVP_DigestFinal_ex(hasher, hash, NULL) != 1)
        FATAL("SHA-256 of a token", 0);
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hash(str_t word, unsigned char hash[TOKEN_HASH_BYTES])
{
    if (word.n != 2 * TOKEN_HASH_BYTES)
        return false;
    for (size_t i = 0; i < TOKEN_HASH_BYTES; ++i) {
        int high = digit_of(word.p[2 * i]), low = digit_of(word.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        hash[i] = (unsigned char)(high * 16 + low);
    }
    return true;
}

static bool hash_is(const token_t *token, const unsigned char hash[TOKEN_HASH_BYTES])
{
    return secret_eq((str_t){(const char *)hash, TOKEN_HASH_BYTES},
                     (str_t){(const char *)token->hash, TOKEN_HASH_BYTES});
}

/* --- the file --- */

/* Takes the first line, without its end, off the front of `text`. */
static str_t next_line(str_t *text)
{
    const char *end = memchr(text->p, '\n', text->n);
    str_t line = {text->p, end == NULL ? text->n : (size_t)(end - text->p)};
    size_t skip = end == NULL ? text->n : line.n + 1;
    *text = (str_t){text->p + skip, text->n - skip};
    if (line.n != 0 && line.p[line.n - 1] == '\r')
        --line.n;
    return line;
}

/* Splits a line at its blanks; returns the number of words, WORDS_MAX + 1 if there are more. */
static unsigned split(str_t line, str_t words[WORDS_MAX])
{
    unsigned count = 0;
    for (size_t at = 0; at < line.n;) {
        size_t from = at;
        while (at < line.n && line.p[at] != ' ' && line.p[at] != '\t')
            ++at;
        if (at != from) {
            if (count == WORDS_MAX)
                return WORDS_MAX + 1;
            words[count++] = (str_t){line.p + from, at - from};
        }
        ++at;
    }
    return count;
}

static bool read_name(str_t word, token_t *token)
{
    static const char others[] = "._-";
    if (word.n > TOKEN_NAME_MAX)
        return false;
    for (size_t i = 0; i < word.n; ++i) {
        char c = word.p[i], lower = (char)(c | 0x20);
        if (!(c >= '0' && c <= '9') && !(lower >= 'a' && lower <= 'z') &&
            (c == '\0' || strchr(others, c) == NULL))
            return false;
    }
    memcpy(token->name, word.p, word.n);
    return true;
}

/* Returns the mistake, or NULL. */
static const char *read_token(str_t line, token_t *token)
{
    str_t words[WORDS_MAX];
    unsigned count = split(line, words);
    if (count < 3 || count > WORDS_MAX)
        return "give NAME ROLE HASH, and perhaps EXPIRES";
    if (!read_name(words[0], token))
        return "the name has more than 64 characters, or one that is not of A-Z a-z 0-9 . _ -";
    if (str_eq(words[0], STR(TOKEN_SINGLE_NAME)))
        return "the name " TOKEN_SINGLE_NAME " is that of admin.token; give another one";
    if ((token->role = role_of(words[1])) == ROLE_UNDECLARED)
        return "the role is none of read, operate, sell";
    if (!read_hash(words[2], token->hash))
        return "the hash is no SHA-256 in 64 hexadecimal digits";
    if (count == WORDS_MAX &&
        (time_parse_rfc3339(words[3].p, words[3].n, &token->expires_ms) != 0 ||
         token->expires_ms == 0))
        return "the end is no time as 2027-01-31T12:00:00Z";
    return NULL;
}

/* Adds a token, if it fits beside the others; else returns the mistake. */
static const char *add(tokens_t *tokens, const token_t *token)
{
    unsigned of_name = 0;
    for (unsigned i = 0; i < tokens->count; ++i) {
        const token_t *other = &tokens->all[i];
        if (hash_is(other, token->hash))
            return "the hash stands on an earlier line, or is that of admin.token";
        if (strcmp(other->name, token->name) != 0)
            continue;
        if (other->role != token->role)
            return "the name has another role on an earlier line";
        ++of_name;
    }
    if (of_name == NAME_TOKENS_MAX)
        return "the name stands on two lines already";
    if (tokens->count == TOKENS_MAX)
        return "there are more than 256 tokens";
    tokens->all[tokens->count++] = *token;
    return NULL;
}

static void add_single(tokens_t *tokens, const char *single)
{
    token_t token = {.name = TOKEN_SINGLE_NAME, .role = ROLE_OPERATE};
    EVP_MD_CTX *hasher = token_hasher_new();
    token_hash(hasher, str_of(single), token.hash);
    EVP_MD_CTX_free(hasher);
    add(tokens, &token);
}

tokens_t *tokens_parse(str_t text, const char *single, char reason[TOKENS_REASON_SIZE])
{
    tokens_t *tokens = alloc_zero(1, sizeof(*tokens));
    if (single != NULL)
        add_single(tokens, single);
    for (unsigned number = 1; text.n != 0; ++number) {
        token_t token = {.expires_ms = 0};
        str_t line = next_line(&text), words[WORDS_MAX];
        if (split(line, words) == 0 || words[0].p[0] == '#')
            continue;
        const char *mistake = read_token(line, &token);
        if (mistake == NULL)
            mistake = add(tokens, &token);
        if (mistake != NULL) {
            snprintf(reason, TOKENS_REASON_SIZE, "line %u: %s", number, mistake);
            tokens_free(tokens);
            return NULL;
        }
    }
    return tokens;
}

void tokens_free(tokens_t *tokens)
{
    free(tokens);
}

/* --- use --- */

const token_t *tokens_find(const tokens_t *tokens, EVP_MD_CTX *hasher, str_t given)
{
    unsigned char hash[TOKEN_HASH_BYTES];
    const token_t *found = NULL;
    token_hash(hasher, given, hash);
    for (unsigned i = 0; i < tokens->count; ++i) /* all of them, whichever it is */
        if (hash_is(&tokens->all[i], hash))
            found = &tokens->all[i];
    return found;
}
