#include "config/raw.h"

#include <assert.h>
#include <cyaml/cyaml.h>
#include <stdlib.h>

/* Enough for the tables of settings.c; the assertions below say when it is not. */
#define FIELDS_MAX 128
#define LISTS_MAX 8

struct raw_file {
    raw_t *root;
    cyaml_config_t config;
    cyaml_schema_value_t root_schema;
    cyaml_schema_field_t fields[FIELDS_MAX];
    size_t fields_used;
    cyaml_schema_value_t elements[LISTS_MAX];
    size_t elements_used;
};

static cyaml_schema_field_t *take_fields(raw_file_t *file, size_t count)
{
    cyaml_schema_field_t *fields = file->fields + file->fields_used;
    file->fields_used += count;
    assert(file->fields_used <= FIELDS_MAX);
    return fields;
}

static cyaml_schema_field_t setting_field(const setting_t *setting, size_t i)
{
    return (cyaml_schema_field_t){
        .key = setting->key,
        .data_offset = (uint32_t)(offsetof(raw_t, values) + i * sizeof(char *)),
        .value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char, 0,
                                     CYAML_UNLIMITED)},
    };
}

static const cyaml_schema_field_t *section_fields(raw_file_t *file, const section_t *section);

static cyaml_schema_value_t mapping_value(raw_file_t *file, const section_t *section,
                                          enum cyaml_flag flags)
{
    return (cyaml_schema_value_t){CYAML_VALUE_MAPPING(flags, raw_t, section_fields(file, section))};
}

static cyaml_schema_field_t child_field(raw_file_t *file, const section_t *child, size_t i)
{
    cyaml_schema_field_t field = {
        .key = child->name,
        .data_offset = (uint32_t)(offsetof(raw_t, children) + i * sizeof(raw_t *)),
    };
    if (!child->list) {
        field.value = mapping_value(file, child, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL);
        return field;
    }
    assert(file->elements_used < LISTS_MAX);
    cyaml_schema_value_t *element = &file->elements[file->elements_used++];
    *element = mapping_value(file, child, CYAML_FLAG_DEFAULT);
    field.count_offset = (uint32_t)(offsetof(raw_t, children_count) + i * sizeof(unsigned));
    field.count_size = sizeof(unsigned);
    field.value = (cyaml_schema_value_t){CYAML_VALUE_SEQUENCE(
        CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, raw_t, element, 0, CYAML_UNLIMITED)};
    return field;
}

static const cyaml_schema_field_t *section_fields(raw_file_t *file, const section_t *section)
{
    assert(section->settings_count <= SECTION_SETTINGS_MAX);
    assert(section->children_count <= SECTION_CHILDREN_MAX);
    size_t count = section->settings_count + section->children_count;
    cyaml_schema_field_t *fields = take_fields(file, count + 1);
    cyaml_schema_field_t *at = fields;
    for (size_t i = 0; i < section->settings_count; i++)
        *at++ = setting_field(&section->settings[i], i);
    for (size_t i = 0; i < section->children_count; i++)
        *at++ = child_field(file, &section->children[i], i);
    *at = (cyaml_schema_field_t)CYAML_FIELD_END;
    return fields;
}

raw_file_t *raw_load(const char *text, size_t n, const section_t *root, complaints_t *complaints)
{
    raw_file_t *file = calloc(1, sizeof(*file));
    if (file == NULL)
        abort();
    file->root_schema = mapping_value(file, root, CYAML_FLAG_POINTER);
    /* No log: the shape was checked, and a backtrace would print lines of the cleaned text. */
    file->config = (cyaml_config_t){.mem_fn = cyaml_mem, .flags = CYAML_CFG_NO_ALIAS};
    cyaml_err_t error = cyaml_load_data((const uint8_t *)text, n, &file->config, &file->root_schema,
                                        (cyaml_data_t **)&file->root, NULL);
    if (error == CYAML_OK)
        return file;
    complain_at(complaints, 0, "libcyaml does not take it: %s", cyaml_strerror(error));
    free(file);
    return NULL;
}

const raw_t *raw_root(const raw_file_t *file)
{
    return file->root;
}

void raw_free(raw_file_t *file)
{
    cyaml_free(&file->config, &file->root_schema, file->root, 0);
    free(file);
}
