#include "words.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool take_number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return isdigit((unsigned char)*text) && *end == '\0' && errno == 0 && *out <= max;
}

bool take_unsigned(const char *text, unsigned *out)
{
    uint64_t number;
    bool taken = take_number(text, UINT32_MAX, &number);
    *out = (unsigned)number;
    return taken;
}

bool take_milliseconds(const char *text, uint64_t *us)
{
    bool taken = take_number(text, UINT32_MAX, us);
    *us *= 1000;
    return taken;
}

bool take_share(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= 0 && *out <= 1;
}

bool take_port(const char *text, in_port_t *out)
{
    uint64_t number;
    bool taken = take_number(text, UINT16_MAX, &number) && number != 0;
    *out = htons((uint16_t)number);
    return taken;
}

void find_word(const char *body, const char *member, char *word, size_t room)
{
    const char *at = strstr(body, member);
    size_t n = 0;
    if (at != NULL) {
        at += strlen(member);
        at += strspn(at, " :\"");
        while (n + 1 < room && (isalnum((unsigned char)at[n]) || at[n] == '_' || at[n] == '-'))
            ++n;
        memcpy(word, at, n);
    }
    word[n] = '\0';
}
