#include "config/values.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "config/config.h"

#define MODE_NOT_OWNER 0077 /* only the owner may read a secret */

_Static_assert(sizeof(strategy_id_t) == sizeof(int) && sizeof(log_level_t) == sizeof(int) &&
                   sizeof(server_status_t) == sizeof(int) && sizeof(server_mode_t) == sizeof(int) &&
                   sizeof(gate_down_t) == sizeof(int) && sizeof(auth_t) == sizeof(int) &&
                   sizeof(mysql_tls_t) == sizeof(int),
               "read_word() writes an int into each of them");

static bool wrong(char reason[REASON_SIZE], const char *what)
{
    snprintf(reason, REASON_SIZE, "%s", what);
    return false;
}

/* --- numbers --- */

/* Decimal digits only. A leading 0 is refused, because some YAML parsers read it as octal. */
static bool is_whole_number(const char *text, size_t n)
{
    if (n == 0 || (n > 1 && text[0] == '0'))
        return false;
    return strspn(text, "0123456789") >= n;
}

static bool read_whole(const char *text, size_t n, const setting_t *setting, uint32_t *number,
                       char reason[REASON_SIZE])
{
    if (text[0] == '-' && is_whole_number(text + 1, n - 1))
        return wrong(reason, "is too small");
    if (!is_whole_number(text, n))
        return wrong(reason, "is not a whole number");
    unsigned long long value = strtoull(text, NULL, 10); /* ULLONG_MAX if it is out of range */
    if (value > setting->max)
        return wrong(reason, "is too large");
    if (value < setting->min)
        return wrong(reason, "is too small");
    *number = (uint32_t)value;
    return true;
}

static bool read_number(const setting_t *setting, const char *text, void *field, char *reason)
{
    return read_whole(text, strlen(text), setting, field, reason);
}

static bool read_port(const setting_t *setting, const char *text, void *field, char *reason)
{
    uint32_t port;
    assert(setting->max <= UINT16_MAX); /* the table; the field has 16 bits */
    if (!read_whole(text, strlen(text), setting, &port, reason))
        return false;
    *(uint16_t *)field = (uint16_t)port;
    return true;
}

static bool read_fraction(const setting_t *setting, const char *text, void *field, char *reason)
{
    const char *digits = text + (text[0] == '-');
    const char *dot = strchr(digits, '.');
    size_t whole = dot == NULL ? strlen(digits) : (size_t)(dot - digits);
    bool shaped =
        is_whole_number(digits, whole) &&
        (dot == NULL || (dot[1] != '\0' && dot[1 + strspn(dot + 1, "0123456789")] == '\0'));
    if (!shaped)
        return wrong(reason, "is not a number");
    double value = strtod(text, NULL);
    if (value > setting->max)
        return wrong(reason, "is too large");
    if (text[0] == '-' || value < setting->min)
        return wrong(reason, "is too small");
    *(double *)field = value;
    return true;
}

static bool read_slots(const setting_t *setting, const char *text, void *field, char *reason)
{
    uint32_t first, last;
    const char *hyphen = strchr(text, '-');
    assert(setting->max <= UINT16_MAX); /* likewise */
    if (hyphen == NULL || !is_whole_number(text, (size_t)(hyphen - text)) ||
        !is_whole_number(hyphen + 1, strlen(hyphen + 1)))
        return wrong(reason, "is not a range of slots");
    if (!read_whole(text, (size_t)(hyphen - text), setting, &first, reason) ||
        !read_whole(hyphen + 1, strlen(hyphen + 1), setting, &last, reason))
        return wrong(reason, "reaches beyond the last slot");
    if (first > last)
        return wrong(reason, "ends before it starts");
    uint16_t *slots = field;
    slots[0] = (uint16_t)first;
    slots[1] = (uint16_t)last;
    return true;
}

/* --- words --- */

static bool read_bool(const setting_t *setting, const char *text, void *field, char *reason)
{
    (void)setting;
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0)
        return wrong(reason, "is neither true nor false");
    *(bool *)field = yes;
    return true;
}

static bool read_word(const setting_t *setting, const char *text, void *field, char *reason)
{
    for (int i = 0; setting->words[i] != NULL; ++i) {
        if (strcmp(setting->words[i], text) == 0) {
            memcpy(field, &i, sizeof(i));
            return true;
        }
    }
    return wrong(reason, "is not one of its words");
}

/* --- texts --- */

static const char name_characters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

static bool is_host_name(const char *host)
{
    if (host[strspn(host, name_characters)] != '\0')
        return false;
    for (const char *label = host;; ++label) {
        size_t n = strcspn(label, ".");
        if (n == 0 || n > 63 || label[0] == '-')
            return false;
        label += n;
        if (*label == '\0')
            return true;
    }
}

static bool is_host(const char *host)
{
    struct in6_addr address;
    if (strchr(host, ':') != NULL)
        return inet_pton(AF_INET6, host, &address) == 1;
    if (host[strspn(host, "0123456789.")] == '\0')
        return inet_pton(AF_INET, host, &address) == 1;
    return is_host_name(host);
}

static bool check_text(const setting_t *setting, const char *text, size_t n, char *reason)
{
    if (n == 0)
        return wrong(reason, "is empty");
    for (size_t i = 0; i < n; ++i) {
        if (iscntrl((unsigned char)text[i]))
            return wrong(reason, "holds a line break or another control character");
    }
    if (n < setting->min)
        return wrong(reason, "is too short");
    return n <= setting->max || wrong(reason, "is too long");
}

static bool read_text(const setting_t *setting, const char *text, void *field, char *reason)
{
    if (setting->type == SETTING_NAME && text[strspn(text, name_characters)] != '\0')
        return wrong(reason, "holds a character that no name may have");
    if (!check_text(setting, text, strlen(text), reason))
        return false;
    if (setting->type == SETTING_HOST && !is_host(text))
        return wrong(reason, "is neither a host name nor an IP address");
    if (setting->type == SETTING_FILE && !file_check_pem(text, setting->private_file, reason))
        return false;
    assert(*(char **)field == NULL); /* value_free() has freed an earlier value */
    *(char **)field = alloc_text(text);
    return true;
}

/* --- addresses --- */

/* "host:port" or "[v6]:port". The host is stored without brackets. */
static bool read_address(const setting_t *setting, const char *text, void *field, char *reason)
{
    static const setting_t port_bounds = {.min = 1, .max = UINT16_MAX};
    config_address_t *address = field;
    const char *colon = strrchr(text, ':');
    bool brackets = text[0] == '[';
    (void)setting;
    if (colon == NULL || colon == text)
        return wrong(reason, "is not an address of host and port");
    if (brackets && colon[-1] != ']')
        return wrong(reason, "has no port after its bracket");
    size_t n = (size_t)(colon - text);
    if (!brackets && memchr(text, ':', n) != NULL)
        return wrong(reason, "has an IPv6 host without brackets");
    char *host = brackets ? alloc_copy(text + 1, n - 2) : alloc_copy(text, n);
    bool good = is_host(host) && brackets == (strchr(host, ':') != NULL);
    if (good && read_port(&port_bounds, colon + 1, &address->port, reason)) {
        address->host = host;
        return true;
    }
    free(host);
    return wrong(reason, good ? "has no port from 1 to 65535"
                              : "has a host that is neither a name nor an IP address");
}

/* --- secrets in files --- */

/* Cuts the newline that editors write at the end: it is not part of a secret. */
static size_t without_newline(const char *content, size_t n)
{
    if (n > 0 && content[n - 1] == '\n')
        --n;
    if (n > 0 && content[n - 1] == '\r')
        --n;
    return n;
}

static bool read_secret_file(const setting_t *setting, const char *text, void *field, char *reason)
{
    size_t n;
    assert(*(char **)field == NULL); /* likewise, one that was given as the secret itself */
    if (text[0] == '\0')
        return wrong(reason, "is empty");
    char *content = file_read(text, MODE_NOT_OWNER, setting->max + 2, &n, reason);
    if (content == NULL)
        return false;
    n = without_newline(content, n);
    char why[REASON_SIZE];
    bool good = check_text(setting, content, n, why);
    if (good)
        *(char **)field = alloc_copy(content, n);
    else
        snprintf(reason, REASON_SIZE, "holds a secret that %.100s", why);
    free(content);
    return good;
}

/* --- by type --- */

typedef bool (*reader_t)(const setting_t *, const char *, void *, char *);

static const reader_t readers[SETTING_TYPE_COUNT] = {
    [SETTING_NUMBER] = read_number,     [SETTING_PORT] = read_port,
    [SETTING_FRACTION] = read_fraction, [SETTING_BOOL] = read_bool,
    [SETTING_WORD] = read_word,         [SETTING_NAME] = read_text,
    [SETTING_TEXT] = read_text,         [SETTING_HOST] = read_text,
    [SETTING_SOCKET] = read_text,       [SETTING_FILE] = read_text,
    [SETTING_SECRET] = read_text,       [SETTING_SECRET_FILE] = read_secret_file,
    [SETTING_ADDRESS] = read_address,   [SETTING_SLOTS] = read_slots,
};

bool value_read(const setting_t *setting, const char *text, void *field, char reason[REASON_SIZE])
{
    return readers[setting->type](setting, text, field, reason);
}

void value_free(const setting_t *setting, void *field)
{
    reader_t reader = readers[setting->type];
    char **text = reader == read_address ? &((config_address_t *)field)->host : field;
    if (reader != read_text && reader != read_secret_file && reader != read_address)
        return;
    free(*text);
    *text = NULL; /* a secret and its file share one field */
}
