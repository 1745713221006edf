#include "http/credentials.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "config/file.h"

#define FILE_BYTES_MAX (256 * 1024)
#define MODE_OTHERS 0007 /* as of the keys of TLS: a group may read them */

/* An empty text if there is no such file in the configuration. The caller frees *content. */
static bool read_file(const char *path, char **content, str_t *text, char *reason)
{
    char why[REASON_SIZE];
    *content = NULL;
    *text = STR("");
    if (path == NULL)
        return true;
    *content = file_read(path, MODE_OTHERS, FILE_BYTES_MAX, &text->n, why);
    text->p = *content;
    if (*content == NULL)
        snprintf(reason, CREDENTIALS_REASON_SIZE, "%.300s %s", path, why);
    return *content != NULL;
}

static tokens_t *load_tokens(const config_t *config, char *reason)
{
    const char *path = config->admin.tokens_file;
    char *content, why[TOKENS_REASON_SIZE];
    str_t text;
    if (!read_file(path, &content, &text, reason))
        return NULL;
    tokens_t *tokens = tokens_parse(text, config->admin.token, why);
    if (tokens == NULL)
        snprintf(reason, CREDENTIALS_REASON_SIZE, "%.300s %s", path, why);
    free(content);
    return tokens;
}

/* True with *keys NULL: the configuration names no file of keys. */
static bool load_buyer_keys(const config_t *config, buyer_keys_t **keys, char *reason)
{
    const char *path = config->http.buyer_keys_file;
    char *content, why[BUYER_KEYS_REASON_SIZE];
    str_t text;
    *keys = NULL;
    if (path == NULL)
        return true;
    if (!read_file(path, &content, &text, reason))
        return false;
    *keys = buyer_keys_parse(text, why);
    if (*keys == NULL)
        snprintf(reason, CREDENTIALS_REASON_SIZE, "%.300s %s", path, why);
    OPENSSL_cleanse(content, text.n);
    free(content);
    return *keys != NULL;
}

credentials_t *credentials_load(const config_t *config, char reason[CREDENTIALS_REASON_SIZE])
{
    credentials_t *credentials = alloc_zero(1, sizeof(*credentials));
    atomic_init(&credentials->references, 1);
    credentials->tokens = load_tokens(config, reason);
    if (credentials->tokens != NULL && load_buyer_keys(config, &credentials->buyer_keys, reason))
        return credentials;
    credentials_release(credentials);
    return NULL;
}

credentials_t *credentials_hold(credentials_t *credentials)
{
    atomic_fetch_add(&credentials->references, 1);
    return credentials;
}

void credentials_release(credentials_t *credentials)
{
    if (credentials == NULL || atomic_fetch_sub(&credentials->references, 1) != 1)
        return;
    tokens_free(credentials->tokens);
    buyer_keys_free(credentials->buyer_keys);
    free(credentials);
}
