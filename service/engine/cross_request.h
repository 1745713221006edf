/*
 * A cross-loop request: the buyer's side of a purchase, on the loop of his connection.
 *
 * All purchases of an item run on one loop, its owner loop (engine_owner_loop()). So the buyers of
 * an item share one reserve call, however many loops their connections are spread over. If each
 * loop had calls of its own, a machine with more cores would send Redis more and smaller calls.
 *
 *   connection's loop                item's owner loop
 *   cross_request_start() ────────▶  purchase_start()
 *   answer                ◀────────  the purchase's answer; the purchase may go on after that
 *
 * If both are the same loop, no message is posted. A loop that is not the owner keeps one fact
 * about an item: until when it is sold out.
 *
 * All functions run on the thread of the connection's loop; none blocks. An error reaches the buyer
 * as an answer (purchase.h); nothing else is returned.
 */
#ifndef HOLDFAST_ENGINE_CROSS_REQUEST_H
#define HOLDFAST_ENGINE_CROSS_REQUEST_H

#include "engine/purchase.h"

typedef struct cross cross_request_t;

/* PROBLEM_NONE, or a refusal that this loop can give at once, without an attempt: the item is sold
   out and the request has no key. */
problem_t cross_request_refuse_early(engine_loop_t *engine, const purchase_request_t *request);
/* Runs on the thread of `engine`. `answer` runs there too: once, and never inside this call. Copies
   `request`, once: into the purchase, which goes to the owner loop as it is. The engine owns the
   returned object and frees it after the answer: do not use it then. */
cross_request_t *cross_request_start(engine_loop_t *engine, const purchase_request_t *request,
                                     purchase_answer_cb answer, void *waiter);
/* The buyer has disconnected: `answer` is not called. The purchase goes on. */
void cross_request_forget_waiter(cross_request_t *cross);

#endif
