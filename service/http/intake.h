/*
 * What is asked of every request before it goes to a route: that nobody can read its head in
 * another way (framing.h), and a body within the limit. Loop thread only.
 *
 * Of HTTP/1 the head is looked at where it stands, at the start of its connection's input: libh2o
 * keeps it there until the request has been answered, also while a body arrives. A request that is
 * refused for its head is the last of its connection. So is one whose body came in chunks: libh2o
 * reads the lines between chunks more loosely than others do (a line may end with LF alone), and
 * shows nobody how they were written; behind such a body nothing is taken for a request.
 */
#ifndef HOLDFAST_HTTP_INTAKE_H
#define HOLDFAST_HTTP_INTAKE_H

#include "http/exchange.h"
#include "http/framing.h"

/* False: answered. A target in absolute-form is then its path alone, and its authority counts
   instead of Host (RFC 9112, 3.2.2). */
bool intake_admits(exchange_t *exchange);
/* Gives the request the target of a head, which may then move. */
void intake_take_target(h2o_req_t *req, const framing_t *framing);

#endif
