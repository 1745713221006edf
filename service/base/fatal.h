/*
 * The end of the process when it cannot go on: the log says why, with the place, before abort().
 *
 * Only for what no caller can do anything about and no request can bring about: no memory, no file
 * descriptor or thread at the start, a table of the program that is wrong. For any thread. Waits
 * 200 ms at most for the reader of the log.
 */
#ifndef HOLDFAST_BASE_FATAL_H
#define HOLDFAST_BASE_FATAL_H

/* `what` could not be done; `error` is an errno, or 0 if there is none. */
#define FATAL(what_, error_) fatal_at(__FILE__, __LINE__, (what_), (error_))

_Noreturn void fatal_at(const char *file, int line, const char *what, int error);

#endif
