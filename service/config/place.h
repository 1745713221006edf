/*
 * The place of each setting in a configuration file, and the mistakes in it.
 *
 * The places are a tree that follows the table of settings.c, whether or not the file has a value
 * there. Below a section are its settings and then its sections, in the order of the table; below a
 * list are the elements from the file. A place with a reported mistake is wrong, and everything
 * below it is unknown. A rule between settings is skipped if one of them is wrong or unknown, so
 * that no mistake is reported twice.
 *
 * Used by one thread, while it loads a file; nothing blocks. A place owns the places below it.
 */
#ifndef HOLDFAST_CONFIG_PLACE_H
#define HOLDFAST_CONFIG_PLACE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/str.h"
#include "config/settings.h"

typedef struct diagnostic diagnostic_t;

/* All mistakes in one file. */
typedef struct {
    const char *file; /* borrowed */
    diagnostic_t *entries;
    int count;
} diagnostics_t;

typedef struct place {
    diagnostics_t *diagnostics;
    struct place *above;      /* the section or list around it; NULL: this is the whole file */
    const setting_t *setting; /* or NULL, and then: */
    const section_t *section; /* of a section, of a list and of each of its elements */
    void *data;    /* the field of a setting, or the struct to which a section's offsets belong */
    unsigned line; /* 0: it is not in the file */
    bool wrong;
    struct place *below;
    size_t below_count;
} place_t;

/* Adds the places below a section or an element, and fills its settings with their defaults. */
void place_open(place_t *place);
/* Adds `count` elements below a list, opens each, and stores them in the struct around the list. */
void place_open_list(place_t *list, size_t count);
/* Frees everything below it, but not the memory behind `data`. */
void place_close(place_t *place);

/* The place of `key` below a section or an element; NULL: there is none. */
place_t *place_below(const place_t *place, str_t key);
/* Has neither the place nor anything around it a reported mistake? */
bool place_is_known(const place_t *place);

/* Reports a mistake in the place, on its line or the line of the section or list around it. */
void report(place_t *place, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for a setting, with its accepted values at the end. */
void report_value(place_t *place, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Reports a mistake on a line (0: unknown) without marking the place as wrong. */
void report_at(const place_t *place, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a key that does not exist below `place`. */
void report_key(const place_t *place, unsigned line, str_t key);

/* Prints all diagnostics by line, and frees them. */
void diagnostics_finish(diagnostics_t *diagnostics, FILE *out);

/* Bytes of the result of quote_value(). */
#define QUOTE_SIZE 80
/* Makes a value or a key printable: in quotes, shortened, without control characters. Never for a
   secret. */
const char *quote_value(char out[QUOTE_SIZE], str_t value);

#endif
