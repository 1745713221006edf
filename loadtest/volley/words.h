/*
 * What crowds read: the values of their options, and words of JSON answers. Pure.
 */
#ifndef VOLLEY_WORDS_H
#define VOLLEY_WORDS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The value of an option. False: it is no such value; *out is then not to be used. */
bool take_number(const char *text, uint64_t max, uint64_t *out);
bool take_unsigned(const char *text, unsigned *out);
/* Given in milliseconds. */
bool take_milliseconds(const char *text, uint64_t *us);
/* From 0 to 1. */
bool take_share(const char *text, double *out);
/* `out` is in network order. */
bool take_port(const char *text, in_port_t *out);

/* The word, or number, that follows `member` in the body, into `word`; empty if there is none. */
void find_word(const char *body, const char *member, char *word, size_t room);

#endif
