/*
 * The record of changes, checked at each COMMIT: an item that exists has the record of its
 * creation, and one more for each change of its terms.
 */
#ifndef HOLDFAST_SIMULATION_CHECK_CHANGES_H
#define HOLDFAST_SIMULATION_CHECK_CHANGES_H

void check_changes_init(void); /* once, after checks_init() */

#endif
