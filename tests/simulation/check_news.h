/*
 * Units that come back are news to the loops of the node that has given them: none of them refuses
 * a buyer any more for having seen none. Other nodes may, for as long as they remember. Checked
 * where nothing goes wrong and no epoch is raised.
 */
#ifndef HOLDFAST_SIMULATION_CHECK_NEWS_H
#define HOLDFAST_SIMULATION_CHECK_NEWS_H

#include "history.h"

void news_begin(void); /* of a history */
/* After each COMMIT: are all units of the item allocated? */
void news_full(unsigned sale, bool full);
/* A gate was told of units that came back. */
void news_released(str_t gate);
/* Of a request that a node has refused by what it remembers. */
void news_refused_early(const request_t *request);

#endif
