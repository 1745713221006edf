/*
 * Checks that every request must pass before it goes to a route: its head is unambiguous
 * (framing.h), and its body is within the limit. Loop thread only; does not block.
 *
 * An HTTP/1 head is read where it stands, at the start of its connection's input: libh2o keeps it
 * there until the request has been answered, also while a body arrives. A request that is refused
 * for its head is the last of its connection. So is one whose body came in chunks: libh2o parses
 * the lines between chunks less strictly than other servers do (a line may end with LF alone), and
 * does not show how they were written. Behind such a body no bytes are taken for a request.
 */
#ifndef HOLDFAST_HTTP_INTAKE_H
#define HOLDFAST_HTTP_INTAKE_H

#include "http/exchange.h"
#include "http/framing.h"

/* False: refused, and answered. A target in absolute-form is replaced by its path, and its
   authority counts instead of Host (RFC 9112, 3.2.2). */
bool intake_admits(exchange_t *exchange);
/* Copies the target of a head into the request's pool; the head may move afterwards. */
void intake_take_target(h2o_req_t *req, const framing_t *framing);

#endif
