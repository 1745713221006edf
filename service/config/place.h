/*
 * Where each setting stands in a configuration file, and what is wrong with it.
 *
 * The places are a tree that follows the table of settings.c, whether the file says something
 * there or not: below a section stand its settings and then its sections, in the order of the
 * table; below a list stand the elements that the file gives it. A place that was reported of
 * is wrong, and all below it is unknown: a rule between settings is left out where one of them
 * is, so that no mistake is named twice.
 * Used by one thread, while a file is being loaded.
 */
#ifndef HOLDFAST_CONFIG_PLACE_H
#define HOLDFAST_CONFIG_PLACE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/str.h"
#include "config/settings.h"

typedef struct diagnostic diagnostic_t;

/* All that is wrong with one file. */
typedef struct {
    const char *file; /* borrowed */
    diagnostic_t *said;
    int count;
} diagnostics_t;

typedef struct place {
    diagnostics_t *diagnostics;
    struct place *above;      /* what holds it; NULL: this is the whole file */
    const setting_t *setting; /* or NULL, and then: */
    const section_t *section; /* of a section, of a list and of each of its elements */
    void *data;               /* a setting's field, or the struct that a section's offsets are of */
    unsigned line;            /* 0: it is not in the file */
    bool wrong;
    struct place *below;
    size_t below_count;
} place_t;

/* Adds what stands below a section or an element, and fills its settings with their defaults. */
void place_open(place_t *place);
/* Adds `count` elements below a list, each opened, and gives them to the struct around it. */
void place_open_list(place_t *list, size_t count);
/* Frees all below it, but not what `data` points at. */
void place_close(place_t *place);

/* The place of `key` below a section or an element; NULL: there is none such. */
place_t *place_below(const place_t *place, str_t key);
/* Nothing was said against the place, nor against what holds it. */
bool place_is_known(const place_t *place);

/* Says what is wrong with the place, on its line or that of what holds it. */
void report(place_t *place, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same of a setting, with what it takes behind it. */
void report_value(place_t *place, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A mistake on a line (0: unknown) that leaves the place itself as it is. */
void report_at(const place_t *place, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Such a mistake too: a key that nothing below `place` has. */
void report_key(const place_t *place, unsigned line, str_t key);

/* Prints all diagnostics by line, and frees them. */
void diagnostics_finish(diagnostics_t *diagnostics, FILE *out);

/* Room for what quote_value() makes of a value. */
#define QUOTE_SIZE 80
/* A value or a key as it may be shown: in quotes, shortened, no control characters. Never for a
   secret. */
const char *quote_value(char out[QUOTE_SIZE], str_t value);

#endif
