/*
 * What can be asked of a descriptor without a library.
 */
#ifndef HOLDFAST_BASE_FD_H
#define HOLDFAST_BASE_FD_H

#include <stdbool.h>

/* Has the other end of this connection gone, or said what nobody asked for? Does not wait. A
   connection that waits for nothing and is so is of no more use. */
bool fd_is_spent(int fd);

#endif
