/*
 * The conditions of a request for the version of an item's terms that it is to change: If-Match and
 * If-None-Match (RFC 9110, 13.1.1 and 13.1.2). http/etag.h reads them. Values and a rule, pure; any
 * thread.
 */
#ifndef HOLDFAST_SALE_PRECONDITION_H
#define HOLDFAST_SALE_PRECONDITION_H

#include <stdbool.h>
#include <stdint.h>

/* So many versions may be named in a header. */
#define PRECONDITION_VERSIONS_MAX 16

/* What a header names. Tags that are none of an item are not kept: they name no version. */
typedef struct {
    bool present; /* the request has the header */
    bool any;     /* `*`: whatever there is */
    unsigned count;
    uint64_t versions[PRECONDITION_VERSIONS_MAX];
} named_versions_t;

typedef struct {
    named_versions_t match, none_match;
} precondition_t;

/* Whether an item whose terms have this version may be changed; 0: there is no item, and it may be
   created. */
bool precondition_holds(const precondition_t *precondition, uint64_t version);

#endif
