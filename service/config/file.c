#include "config/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

#define PEM_BYTES_MAX (1 << 20)
#define MODE_OTHERS 0007 /* a key file may be readable by a group such as ssl-cert */

static bool is_acceptable(int fd, mode_t forbidden, size_t bytes_max, char reason[REASON_SIZE])
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        snprintf(reason, REASON_SIZE, "cannot be examined: %s", strerror(errno));
    else if (S_ISDIR(st.st_mode))
        snprintf(reason, REASON_SIZE, "is a directory");
    else if (!S_ISREG(st.st_mode))
        snprintf(reason, REASON_SIZE, "is not a regular file");
    else if ((st.st_mode & forbidden) != 0)
        snprintf(reason, REASON_SIZE, "is open to others (mode %03o; chmod 600 it)",
                 (unsigned)st.st_mode & 0777);
    else if (st.st_size == 0)
        snprintf(reason, REASON_SIZE, "is empty");
    else if ((unsigned long long)st.st_size > bytes_max)
        snprintf(reason, REASON_SIZE, "is larger than %zu bytes", bytes_max);
    else
        return true;
    return false;
}

/* Reads up to `room` bytes. Returns -1, with errno, if the file cannot be read. */
static ssize_t read_all(int fd, char *to, size_t room)
{
    size_t n = 0;
    while (n < room) {
        ssize_t part = read(fd, to + n, room - n);
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return -1;
        if (part == 0)
            break;
        n += (size_t)part;
    }
    return (ssize_t)n;
}

static char *read_open_file(int fd, size_t bytes_max, size_t *n, char reason[REASON_SIZE])
{
    /* Two more bytes: the NUL, and one that shows that the file has grown since fstat(). */
    char *content = alloc_bytes(bytes_max + 2);
    ssize_t got = read_all(fd, content, bytes_max + 1);
    if (got > 0 && (size_t)got <= bytes_max) {
        content[got] = '\0';
        *n = (size_t)got;
        return content;
    }
    if (got < 0)
        snprintf(reason, REASON_SIZE, "cannot be read: %s", strerror(errno));
    else
        snprintf(reason, REASON_SIZE, "changed while it was read");
    free(content);
    return NULL;
}

char *file_read(const char *path, mode_t forbidden, size_t bytes_max, size_t *n,
                char reason[REASON_SIZE])
{
    /* O_NONBLOCK: opening a pipe without a writer would block for ever. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        snprintf(reason, REASON_SIZE, "cannot be opened: %s", strerror(errno));
        return NULL;
    }
    char *content = NULL;
    if (is_acceptable(fd, forbidden, bytes_max, reason))
        content = read_open_file(fd, bytes_max, n, reason);
    close(fd);
    return content;
}

bool file_check_pem(const char *path, bool private_file, char reason[REASON_SIZE])
{
    size_t n;
    char *content = file_read(path, private_file ? MODE_OTHERS : 0, PEM_BYTES_MAX, &n, reason);
    free(content);
    return content != NULL;
}
