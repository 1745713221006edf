#include "config/complaints.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct place {
    char *path;
    unsigned line; /* 0: only complained of */
    bool unsound;
    UT_hash_handle hh;
};

struct complaint {
    unsigned line;
    int number; /* keeps those of one line in their order */
    char *text;
    size_t n;
};

static void free_places(complaints_t *complaints)
{
    place_t *place, *next;
    HASH_ITER(hh, complaints->places, place, next)
    {
        HASH_DEL(complaints->places, place);
        free(place->path);
        free(place);
    }
}

/* By line; what has none comes last: mostly what is missing. */
static int by_line(const void *a_, const void *b_)
{
    const complaint_t *a = a_, *b = b_;
    unsigned a_line = a->line - 1, b_line = b->line - 1; /* 0 becomes the greatest */
    if (a_line != b_line)
        return a_line < b_line ? -1 : 1;
    return a->number - b->number;
}

void complaints_finish(complaints_t *complaints, FILE *out)
{
    if (complaints->count > 1)
        qsort(complaints->said, (size_t)complaints->count, sizeof(*complaints->said), by_line);
    for (int i = 0; i < complaints->count; i++) {
        fwrite(complaints->said[i].text, 1, complaints->said[i].n, out);
        free(complaints->said[i].text);
    }
    free(complaints->said);
    free_places(complaints);
}

/* Paths are made of the schema's names, which are short, and numbers. */
static void must_fit(int printed)
{
    if (printed < 0 || printed >= PATH_SIZE)
        abort();
}

void path_of_key(char out[PATH_SIZE], const char *path, const char *key)
{
    must_fit(snprintf(out, PATH_SIZE, "%s%s%s", path, *path == '\0' ? "" : ".", key));
}

void path_of_element(char out[PATH_SIZE], const char *path, size_t i)
{
    must_fit(snprintf(out, PATH_SIZE, "%s[%zu]", path, i));
}

static place_t *place_find(const complaints_t *complaints, const char *path)
{
    place_t *place;
    HASH_FIND_STR(complaints->places, path, place);
    return place;
}

static place_t *place_get(complaints_t *complaints, const char *path)
{
    place_t *place = place_find(complaints, path);
    if (place != NULL)
        return place;
    place = calloc(1, sizeof(*place));
    if (place == NULL || (place->path = strdup(path)) == NULL)
        abort();
    HASH_ADD_KEYPTR(hh, complaints->places, place->path, strlen(place->path), place);
    return place;
}

unsigned place_add(complaints_t *complaints, const char *path, unsigned line)
{
    place_t *place = place_get(complaints, path);
    unsigned before = place->line;
    if (before == 0)
        place->line = line;
    return before;
}

unsigned place_line(const complaints_t *complaints, const char *path)
{
    const place_t *place = place_find(complaints, path);
    return place == NULL ? 0 : place->line;
}

/* Cuts the last part off: "shards[0].slots", "shards[0]", "shards". False: nothing was left. */
static bool path_up(char *path)
{
    char *end = path + strlen(path);
    while (end != path && *end != '.' && *end != '[')
        end--;
    *end = '\0';
    return end != path;
}

bool place_is_sound(const complaints_t *complaints, const char *path)
{
    char up[PATH_SIZE];
    snprintf(up, sizeof(up), "%s", path);
    do {
        const place_t *place = place_find(complaints, up);
        if (place != NULL && place->unsound)
            return false;
    } while (path_up(up));
    return true;
}

static unsigned nearest_line(const complaints_t *complaints, const char *path)
{
    char up[PATH_SIZE];
    snprintf(up, sizeof(up), "%s", path);
    unsigned line;
    do {
        line = place_line(complaints, up);
    } while (line == 0 && path_up(up));
    return line;
}

/* Doubles the room whenever the count is a power of two. */
static complaint_t *add_complaint(complaints_t *complaints)
{
    size_t count = (size_t)complaints->count;
    if ((count & (count - 1)) == 0) {
        size_t room = count == 0 ? 1 : 2 * count;
        complaints->said = realloc(complaints->said, room * sizeof(*complaints->said));
        if (complaints->said == NULL)
            abort();
    }
    return &complaints->said[complaints->count++];
}

FILE *complaint_start(complaints_t *complaints, unsigned line)
{
    assert(complaints->open == NULL);
    int number = complaints->count;
    complaint_t *complaint = add_complaint(complaints);
    *complaint = (complaint_t){.line = line, .number = number};
    /* The array does not move before the end: complaints do not nest. */
    complaints->open = open_memstream(&complaint->text, &complaint->n);
    if (complaints->open == NULL)
        abort();
    fputs(complaints->file, complaints->open);
    if (line != 0)
        fprintf(complaints->open, ":%u", line);
    fputs(": ", complaints->open);
    return complaints->open;
}

void complaint_end(complaints_t *complaints)
{
    fputc('\n', complaints->open);
    if (fclose(complaints->open) != 0)
        abort();
    complaints->open = NULL;
}

static FILE *start_at_path(complaints_t *complaints, const char *path)
{
    place_get(complaints, path)->unsound = true;
    FILE *out = complaint_start(complaints, nearest_line(complaints, path));
    fprintf(out, "%s: ", path);
    return out;
}

void complain(complaints_t *complaints, const char *path, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(start_at_path(complaints, path), format, args);
    va_end(args);
    complaint_end(complaints);
}

void complain_value(complaints_t *complaints, const char *path, const setting_t *setting,
                    const char *format, ...)
{
    FILE *out = start_at_path(complaints, path);
    va_list args;
    va_start(args, format);
    vfprintf(out, format, args);
    va_end(args);
    fputs("; give ", out);
    setting_print_wanted(setting, out);
    complaint_end(complaints);
}

void complain_at(complaints_t *complaints, unsigned line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(complaint_start(complaints, line), format, args);
    va_end(args);
    complaint_end(complaints);
}

/* Where to cut so that no UTF-8 character is split. */
static size_t cut_at(const char *text, size_t n)
{
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

const char *quote_value(char out[QUOTE_SIZE], const char *text, size_t n)
{
    size_t room = QUOTE_SIZE - sizeof("''...");
    size_t shown = n <= room ? n : cut_at(text, room);
    char *at = out;
    *at++ = '\'';
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)text[i];
        *at++ = c < 0x20 || c == 0x7f ? '?' : text[i];
    }
    *at++ = '\'';
    strcpy(at, shown < n ? "..." : "");
    return out;
}
