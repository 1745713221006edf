/*
 * The state of a descriptor, without the library that owns it. Any thread may call; does not block.
 */
#ifndef HOLDFAST_BASE_FD_H
#define HOLDFAST_BASE_FD_H

#include <stdbool.h>

/* Has the other end closed this connection, or sent data that was not requested? A connection in
   this state, on which no answer is pending, is not usable any more. */
bool fd_is_spent(int fd);

#endif
