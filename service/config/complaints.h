/*
 * What is wrong with a configuration file, said one line a mistake, and where each setting stands.
 *
 * A place is the path of a setting ("shards[0].slots") and its line. A place that has been
 * complained of is unsound, and so is all below it: checks that compare settings ask for
 * soundness first, so that no mistake is named twice under two names.
 * Used by one thread, while a file is being loaded.
 */
#ifndef HOLDFAST_CONFIG_COMPLAINTS_H
#define HOLDFAST_CONFIG_COMPLAINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config/settings.h"

/* Room for the path of any setting of the schema. */
#define PATH_SIZE 160
/* Room for what quote_value() makes of a value. */
#define QUOTE_SIZE 80

typedef struct place place_t;
typedef struct complaint complaint_t;

typedef struct {
    const char *file; /* borrowed */
    complaint_t *said;
    int count;
    FILE *open;      /* of the complaint that is being written */
    place_t *places; /* uthash, by path */
} complaints_t;

/* Prints all of them by line, and frees what is kept. */
void complaints_finish(complaints_t *complaints, FILE *out);

/* "shards[0]" and "slots" to "shards[0].slots"; "shards" and 0 to "shards[0]". */
void path_of_key(char out[PATH_SIZE], const char *path, const char *key);
void path_of_element(char out[PATH_SIZE], const char *path, size_t i);

/* Notes that `path` stands on `line`. Returns 0, or the line on which it already stood. */
unsigned place_add(complaints_t *complaints, const char *path, unsigned line);
/* 0: it is not in the file. */
unsigned place_line(const complaints_t *complaints, const char *path);
/* Nothing was said against `path` or against a section or list that holds it. */
bool place_is_sound(const complaints_t *complaints, const char *path);

/* One mistake of the setting at `path`; its line, or that of what holds it, is looked up. */
void complain(complaints_t *complaints, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, with what `setting` takes behind it. */
void complain_value(complaints_t *complaints, const char *path, const setting_t *setting,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A mistake that is no setting's; `line` may be 0. */
void complain_at(complaints_t *complaints, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same in pieces: what is written to the file that start returns, until end. */
FILE *complaint_start(complaints_t *complaints, unsigned line);
void complaint_end(complaints_t *complaints);

/* A value or an unknown key as it may be shown: in quotes, shortened, no control characters.
   Never for a secret. */
const char *quote_value(char out[QUOTE_SIZE], const char *text, size_t n);

#endif
