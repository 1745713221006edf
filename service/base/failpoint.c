#include "base/failpoint.h"

#ifdef HOLDFAST_FAILPOINTS

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POINTS_MAX 32
#define NAME_SIZE 48

typedef enum { ACT_KILL, ACT_STOP, ACT_PAUSE, ACT_FAIL, ACT_ERROR } act_t;

typedef struct {
    char name[NAME_SIZE], action[NAME_SIZE];
    act_t act;
    unsigned pause_ms;
    unsigned after, times, every; /* see the header */
    unsigned first, last;         /* range of ACT_ERROR */
    unsigned hits, acted;
} point_t;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static point_t points[POINTS_MAX];
static unsigned points_count;
static struct timespec read_at;
static ino_t read_inode;

/* "error=N": N at each hit. "error=N-M": the next number at each hit, up to M. */
static bool parse_numbers(point_t *point)
{
    int found = sscanf(point->action, "error=%u-%u", &point->first, &point->last);
    point->act = ACT_ERROR;
    if (found == 1)
        point->last = point->first;
    if (found == 2 && point->times > point->last - point->first + 1)
        point->times = point->last - point->first + 1;
    return found >= 1 && point->first <= point->last;
}

static bool parse_action(point_t *point)
{
    if (strcmp(point->action, "kill") == 0)
        point->act = ACT_KILL;
    else if (strcmp(point->action, "stop") == 0)
        point->act = ACT_STOP;
    else if (strcmp(point->action, "fail") == 0)
        point->act = ACT_FAIL;
    else if (sscanf(point->action, "pause=%u", &point->pause_ms) == 1)
        point->act = ACT_PAUSE;
    else
        return parse_numbers(point);
    return true;
}

static void parse_line(const char *line)
{
    point_t point = {.times = UINT32_MAX, .every = 1};
    char options[3][NAME_SIZE] = {"", "", ""};
    int words = sscanf(line, "%47s %47s %47s %47s %47s", point.name, point.action, options[0],
                       options[1], options[2]);
    if (words < 2 || point.name[0] == '#' || points_count == POINTS_MAX)
        return;
    for (int i = 0; i < words - 2; ++i)
        if (sscanf(options[i], "after=%u", &point.after) != 1 &&
            sscanf(options[i], "times=%u", &point.times) != 1 &&
            (sscanf(options[i], "every=%u", &point.every) != 1 || point.every == 0))
            return;
    if (parse_action(&point))
        points[points_count++] = point;
    else
        fprintf(stderr, "failpoints: not understood: %s", line);
}

/* Reads the file if it is new. A test replaces the whole file, so a new inode or time means a new
   file. */
static void read_if_new(const char *path)
{
    struct stat about;
    char line[256];
    if (stat(path, &about) != 0) {
        points_count = 0;
        read_inode = 0;
        return;
    }
    if (about.st_ino == read_inode && about.st_mtim.tv_sec == read_at.tv_sec &&
        about.st_mtim.tv_nsec == read_at.tv_nsec)
        return;
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return;
    read_inode = about.st_ino;
    read_at = about.st_mtim;
    points_count = 0;
    while (fgets(line, sizeof(line), in) != NULL)
        parse_line(line);
    fclose(in);
}

/* Written before the action: a process that kills itself cannot write afterwards. */
static void note(const char *path, const point_t *point)
{
    char file[4096], line[160];
    snprintf(file, sizeof(file), "%s.hits", path);
    int n = snprintf(line, sizeof(line), "%s %s %d\n", point->name, point->action, (int)getpid());
    int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (write(fd, line, (size_t)n) != n)
        perror("failpoints");
    close(fd);
}

static bool due(const char *path, const char *name, point_t *out)
{
    bool found = false;
    pthread_mutex_lock(&mutex);
    read_if_new(path);
    for (unsigned i = 0; i < points_count && !found; ++i) {
        point_t *point = &points[i];
        if (strcmp(point->name, name) != 0)
            continue;
        unsigned hit = point->hits++;
        found = hit >= point->after && (hit - point->after) % point->every == 0 &&
                point->acted < point->times;
        *out = *point;
        point->acted += found;
    }
    if (found)
        note(path, out);
    pthread_mutex_unlock(&mutex);
    return found;
}

/* Takes the action if one is due. False: none is due. */
static bool act(const char *name, point_t *point)
{
    const char *path = getenv("HOLDFAST_FAILPOINTS");
    if (path == NULL || !due(path, name, point))
        return false;
    switch (point->act) {
    case ACT_KILL:
        raise(SIGKILL);
        break;
    case ACT_STOP:
        raise(SIGSTOP); /* to this thread, so that it executes no further step */
        break;
    case ACT_PAUSE:
        usleep(point->pause_ms * 1000);
        break;
    case ACT_FAIL:
    case ACT_ERROR:
        break;
    }
    return true;
}

bool failpoint_hit(const char *name)
{
    point_t point;
    return act(name, &point) && point.act == ACT_FAIL;
}

unsigned failpoint_number(const char *name)
{
    point_t point;
    if (!act(name, &point) || point.act != ACT_ERROR)
        return 0;
    return point.first == point.last ? point.first : point.first + point.acted;
}

#else
/* ISO C forbids an empty translation unit. */
typedef int failpoint_none_t;
#endif
