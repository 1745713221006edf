/*
 * A cross: the buyer's side of a purchase, on the loop that has his connection.
 *
 * The purchases of an item all run on one loop, its home (engine_owner_loop()). So those who want
 * the same item meet in one reserve call, however many loops their connections are spread over; if
 * each loop had calls of its own, a machine of more cores would send Redis more and smaller ones.
 *
 *   connection's loop          item's home
 *   cross_request_start() ─────────▶  purchase_start()
 *   answer        ◀─────────  the purchase's answer; it may go on after that
 *
 * Where both are the same loop nothing is posted. Other loops than the home know one thing of an
 * item: until when it is sold out.
 */
#ifndef HOLDFAST_ENGINE_CROSS_REQUEST_H
#define HOLDFAST_ENGINE_CROSS_REQUEST_H

#include "engine/purchase.h"

typedef struct cross cross_request_t;

/* What needs no attempt: PROBLEM_NONE, or a refusal that can be given at once. */
problem_t cross_request_refuse_early(engine_loop_t *engine, const purchase_request_t *request);
/* On the thread of `engine`, where `answer` is called too, once and never in here. `request` is
   copied. The cross is the engine's: it ends with the answer. */
cross_request_t *cross_request_start(engine_loop_t *engine, const purchase_request_t *request,
                                     purchase_answer_cb answer, void *waiter);
/* The waiter is gone: no answer will be called. The purchase goes on. */
void cross_request_forget_waiter(cross_request_t *cross);

#endif
