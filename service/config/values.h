/* From the text of one setting to its field in config_t, and back to freed memory. */
#ifndef HOLDFAST_CONFIG_VALUES_H
#define HOLDFAST_CONFIG_VALUES_H

#include <stdbool.h>

#include "config/file.h"
#include "config/settings.h"

/*
 * Fills `field`, of the C type that goes with the setting's type. False: nothing was filled, and
 * `reason` says what is wrong with the value, as a phrase that follows it ("is too large"), and
 * never says the value itself.
 */
bool value_read(const setting_t *setting, const char *text, void *field, char reason[REASON_SIZE]);
void value_free(const setting_t *setting, void *field);

#endif
