/* The version of this binary, as in CMakeLists.txt. Static; any thread. */
#ifndef HOLDFAST_BASE_VERSION_H
#define HOLDFAST_BASE_VERSION_H

extern const char holdfast_version[];

#endif
