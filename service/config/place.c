#include "config/place.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/fatal.h"
#include "config/values.h"

struct diagnostic {
    unsigned line;
    int number; /* keeps the order of diagnostics of the same line */
    char *text;
    size_t n;
};

/* --- the tree --- */

static void *field_at(void *base, size_t offset)
{
    return (char *)base + offset;
}

static void open_setting(place_t *place, void *base)
{
    char reason[REASON_SIZE];
    const setting_t *setting = place->setting;
    place->data = field_at(base, setting->offset);
    if (setting->fallback != NULL && !value_read(setting, setting->fallback, place->data, reason))
        FATAL("a default of config/settings.c", EINVAL); /* the table is wrong: see test_records */
}

void place_open(place_t *place)
{
    const section_t *section = place->section;
    assert(place->below == NULL); /* else the places below it would lose their values */
    place->below_count = section->settings_count + section->children_count;
    place->below = alloc_zero(place->below_count, sizeof(*place->below));
    for (size_t i = 0; i < place->below_count; ++i) {
        place_t *below = &place->below[i];
        *below = (place_t){.diagnostics = place->diagnostics, .above = place, .data = place->data};
        if (i < section->settings_count) {
            below->setting = &section->settings[i];
            open_setting(below, place->data);
        } else {
            below->section = &section->children[i - section->settings_count];
            if (!below->section->list)
                place_open(below);
        }
    }
}

void place_open_list(place_t *list, size_t count)
{
    const section_t *section = list->section;
    assert(section->list && list->below == NULL && count <= section->count_max);
    if (count == 0)
        return;
    char *elements = alloc_zero(count, section->element_size);
    *(void **)field_at(list->data, section->elements_offset) = elements;
    *(unsigned *)field_at(list->data, section->count_offset) = (unsigned)count;
    list->below = alloc_zero(count, sizeof(*list->below));
    list->below_count = count;
    for (size_t i = 0; i < count; ++i) {
        list->below[i] = (place_t){.diagnostics = list->diagnostics,
                                   .above = list,
                                   .section = section,
                                   .data = elements + i * section->element_size};
        place_open(&list->below[i]);
    }
}

void place_close(place_t *place)
{
    for (size_t i = 0; i < place->below_count; ++i)
        place_close(&place->below[i]);
    free(place->below);
}

static const char *name_of(const place_t *place)
{
    return place->setting != NULL ? place->setting->key : place->section->name;
}

place_t *place_below(const place_t *place, str_t key)
{
    for (size_t i = 0; i < place->below_count; ++i) {
        if (str_eq(str_of(name_of(&place->below[i])), key))
            return &place->below[i];
    }
    return NULL;
}

bool place_is_known(const place_t *place)
{
    for (; place != NULL; place = place->above) {
        if (place->wrong)
            return false;
    }
    return true;
}

/* --- diagnostics --- */

/* "shards[0].slots" */
static void print_path(const place_t *place, FILE *out)
{
    const place_t *above = place->above;
    if (above == NULL)
        return;
    print_path(above, out);
    if (above->section == place->section) /* an element of the list above */
        fprintf(out, "[%zu]", (size_t)(place - above->below));
    else
        fprintf(out, "%s%s", above->above == NULL ? "" : ".", name_of(place));
}

static unsigned nearest_line(const place_t *place)
{
    while (place->line == 0 && place->above != NULL)
        place = place->above;
    return place->line;
}

/* Starts a diagnostic. The caller writes its text and closes it before the next one starts. */
static FILE *start(const place_t *place, unsigned line)
{
    diagnostics_t *diagnostics = place->diagnostics;
    size_t count = (size_t)diagnostics->count;
    if ((count & (count - 1)) == 0) { /* doubles the room whenever it is full */
        size_t room = count == 0 ? 1 : 2 * count;
        diagnostics->entries =
            alloc_resize(diagnostics->entries, room, sizeof(*diagnostics->entries));
    }
    diagnostic_t *diagnostic = &diagnostics->entries[diagnostics->count++];
    *diagnostic = (diagnostic_t){.line = line, .number = (int)count};
    FILE *out = alloc_check(open_memstream(&diagnostic->text, &diagnostic->n));
    fputs(diagnostics->file, out);
    if (line != 0)
        fprintf(out, ":%u", line);
    fputs(": ", out);
    print_path(place, out);
    if (place->above != NULL)
        fputs(": ", out);
    return out;
}

static void end(FILE *out)
{
    fputc('\n', out);
    if (fclose(out) != 0)
        FATAL("a text in memory", errno);
}

/* Reports a mistake. `wanted`: a setting whose accepted values are added, or NULL. */
static void add_diagnostic(const place_t *place, unsigned line, const setting_t *wanted,
                           const char *format, va_list args)
{
    FILE *out = start(place, line);
    vfprintf(out, format, args);
    if (wanted != NULL) {
        fputs("; give ", out);
        setting_print_wanted(wanted, out);
    }
    end(out);
}

void report(place_t *place, const char *format, ...)
{
    va_list args;
    place->wrong = true;
    va_start(args, format);
    add_diagnostic(place, nearest_line(place), NULL, format, args);
    va_end(args);
}

void report_value(place_t *place, const char *format, ...)
{
    va_list args;
    assert(place->setting != NULL); /* only a setting has accepted values */
    place->wrong = true;
    va_start(args, format);
    add_diagnostic(place, nearest_line(place), place->setting, format, args);
    va_end(args);
}

void report_at(const place_t *place, unsigned line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_diagnostic(place, line, NULL, format, args);
    va_end(args);
}

void report_key(const place_t *place, unsigned line, str_t key)
{
    char shown[QUOTE_SIZE];
    FILE *out = start(place, line);
    fprintf(out, "%s is no %s; there are ", quote_value(shown, key),
            place->above == NULL ? "section" : "setting");
    for (size_t i = 0; i < place->below_count; ++i)
        fprintf(out, "%s%s", i == 0 ? "" : ", ", name_of(&place->below[i]));
    end(out);
}

/* Sorts by line. Diagnostics without a line, mostly missing settings, come last. */
static int by_line(const void *a_, const void *b_)
{
    const diagnostic_t *a = a_, *b = b_;
    unsigned a_line = a->line - 1, b_line = b->line - 1; /* 0 wraps to the greatest value */
    if (a_line != b_line)
        return a_line < b_line ? -1 : 1;
    return a->number - b->number;
}

void diagnostics_finish(diagnostics_t *diagnostics, FILE *out)
{
    if (diagnostics->count > 1)
        qsort(diagnostics->entries, (size_t)diagnostics->count, sizeof(*diagnostics->entries),
              by_line);
    for (int i = 0; i < diagnostics->count; ++i) {
        fwrite(diagnostics->entries[i].text, 1, diagnostics->entries[i].n, out);
        free(diagnostics->entries[i].text);
    }
    free(diagnostics->entries);
}

const char *quote_value(char out[QUOTE_SIZE], str_t value)
{
    size_t room = QUOTE_SIZE - sizeof("''...");
    size_t shown = value.n <= room ? value.n : room;
    char *at = out;
    while (shown < value.n && shown > 0 && ((unsigned char)value.p[shown] & 0xc0) == 0x80)
        --shown; /* a UTF-8 character is never split */
    *at++ = '\'';
    for (size_t i = 0; i < shown; ++i) {
        unsigned char c = (unsigned char)value.p[i];
        *at++ = c < 0x20 || c == 0x7f ? '?' : value.p[i];
    }
    *at++ = '\'';
    strcpy(at, shown < value.n ? "..." : "");
    return out;
}
