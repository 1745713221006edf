/*
 * The records of all settings: the one place that says what may stand in the file.
 *
 * From these tables come the shape of the file, the check of every value, the defaults, the
 * diagnostics and `config_describe()`. To add a setting, add its field to config_t and its record
 * to settings.c; nothing else has to know. Constant data; any thread may read.
 */
#ifndef HOLDFAST_CONFIG_SETTINGS_H
#define HOLDFAST_CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Logical places of a key; as in sale/shard_map.h, which stands above this module. */
#define CONFIG_SLOT_COUNT 1024

/* What a value is, and the C type of its field. */
typedef enum {
    SETTING_NUMBER,      /* uint32_t */
    SETTING_PORT,        /* uint16_t */
    SETTING_FRACTION,    /* double */
    SETTING_BOOL,        /* bool */
    SETTING_WORD,        /* an enum: the index in `words` */
    SETTING_NAME,        /* char *: what may stand in a label or a key unquoted */
    SETTING_TEXT,        /* char * */
    SETTING_HOST,        /* char * */
    SETTING_SOCKET,      /* char *: path of a Unix socket */
    SETTING_FILE,        /* char *: path of a file that is there and can be read */
    SETTING_SECRET,      /* char *: never printed */
    SETTING_SECRET_FILE, /* char *: the file is named, its content is what the field gets */
    SETTING_ADDRESS,     /* config_address_t */
    SETTING_SLOTS,       /* two uint16_t: the first and the last */
    SETTING_TYPE_COUNT
} setting_type_t;

typedef struct {
    const char *key;
    const char *help; /* a sentence */
    const char *unit;
    const char *fallback;      /* the default, as one would write it; NULL: none */
    const char *fallback_said; /* instead of `fallback`: a default that is computed */
    const char *const *words;  /* of a SETTING_WORD, in the order of its enum, then NULL */
    /* How it stands to another setting of its section, by key. */
    const char *instead;    /* says the same: at most one of the two */
    const char *needs;      /* makes no sense without it */
    const char *not_beside; /* makes no sense with it */
    const char *above;      /* both numbers: must be greater */
    size_t offset;          /* of the field in its section's struct */
    uint32_t min, max;      /* of a number: its value; of a text: its bytes */
    setting_type_t type;
    bool required;     /* it, or the one named by `instead` */
    bool private_file; /* of a SETTING_FILE: others may not read it */
} setting_t;

/*
 * A mapping of the file: settings, and below them further sections. A plain section's fields
 * are offsets into the struct of the section around it; a list's are offsets into its element.
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
    size_t elements_offset; /* of the pointer to the elements, in the struct around */
    size_t count_offset;    /* of their number, an unsigned, there too */
} section_t;

/* The whole file; offsets from the start of config_t. */
extern const section_t config_root;

/* What a setting takes: "0 to 1024 (threads; default 0)". */
void setting_print_wanted(const setting_t *setting, FILE *out);

#endif
