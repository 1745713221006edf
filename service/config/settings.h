/*
 * The records of all settings: the one definition of the valid content of the file.
 *
 * These tables give the shape of the file, the check of every value, the defaults, the diagnostics
 * and `config_describe()`. To add a setting, add its field to config_t and its record to
 * settings.c; no other code changes. Constant data; any thread may read.
 */
#ifndef HOLDFAST_CONFIG_SETTINGS_H
#define HOLDFAST_CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The number of slots, as in sale/shard_map.h, which is in a layer above this module. */
#define CONFIG_SLOT_COUNT 1024

/* The kind of a value, and the C type of its field. */
typedef enum {
    SETTING_NUMBER,      /* uint32_t */
    SETTING_PORT,        /* uint16_t */
    SETTING_FRACTION,    /* double */
    SETTING_BOOL,        /* bool */
    SETTING_WORD,        /* an enum: the index in `words` */
    SETTING_NAME,        /* char *: characters allowed unquoted in a label or a key */
    SETTING_TEXT,        /* char * */
    SETTING_HOST,        /* char * */
    SETTING_SOCKET,      /* char *: path of a Unix socket */
    SETTING_FILE,        /* char *: path of a file that is there and can be read */
    SETTING_SECRET,      /* char *: never printed */
    SETTING_SECRET_FILE, /* char *: the value names a file, the field receives its content */
    SETTING_ADDRESS,     /* config_address_t */
    SETTING_SLOTS,       /* two uint16_t: the first and the last */
    SETTING_TYPE_COUNT
} setting_type_t;

typedef struct {
    const char *key;
    const char *help; /* a sentence */
    const char *unit;
    const char *fallback;       /* the default, in the form of the file; NULL: none */
    const char *fallback_shown; /* printed instead of `fallback`: a default that is computed */
    const char *const *words;   /* of a SETTING_WORD, in the order of its enum, then NULL */
    /* Relations to another setting of its section, by key. */
    const char *instead;    /* has the same meaning: at most one of the two is allowed */
    const char *needs;      /* is valid only with it */
    const char *not_beside; /* is valid only without it */
    const char *above;      /* both are numbers: must be greater than it */
    size_t offset;          /* of the field in its section's struct */
    uint32_t min, max;      /* of a number: its value; of a text: its length in bytes */
    setting_type_t type;
    bool required;     /* it, or the setting named by `instead`, must be present */
    bool private_file; /* of a SETTING_FILE: other users may not read it */
} setting_t;

/*
 * A mapping of the file: settings, and below them further sections. The fields of a plain section
 * are offsets into the struct of the section around it; those of a list are offsets into its
 * element.
 */
typedef struct section {
    const char *name;
    const char *help; /* of a list only */
    const setting_t *settings;
    size_t settings_count;
    const struct section *children;
    size_t children_count;
    bool list;
    unsigned count_max; /* of a list */
    size_t element_size;
    size_t elements_offset; /* of the pointer to the elements, in the struct around it */
    size_t count_offset;    /* of their number (an unsigned), in the same struct */
} section_t;

/* The whole file; offsets from the start of config_t. */
extern const section_t config_root;

/* Prints the accepted values of a setting: "0 to 1024 (threads; default 0)". */
void setting_print_wanted(const setting_t *setting, FILE *out);

#endif
