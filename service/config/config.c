#include "config/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/check.h"
#include "config/complaints.h"
#include "config/document.h"
#include "config/raw.h"
#include "config/values.h"

#define FILE_BYTES_MAX (1 << 20)

/* ---- from strings to fields ---- */

static void *field_at(void *base, size_t offset)
{
    return (char *)base + offset;
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        abort();
    return memory;
}

static void fill_setting(const setting_t *setting, const char *text, void *base, const char *path,
                         complaints_t *complaints)
{
    char reason[REASON_SIZE], shown[QUOTE_SIZE];
    void *field = field_at(base, setting->offset);
    if (text == NULL)
        text = setting->fallback;
    if (text == NULL || !place_is_sound(complaints, path))
        return;
    value_free(setting, field); /* a secret that was given in both ways shares one field */
    if (value_read(setting, text, field, reason))
        return;
    if (setting->type == SETTING_SECRET)
        strcpy(shown, "the secret");
    else
        quote_value(shown, text, strlen(text));
    complain_value(complaints, path, setting, "%s %s", shown, reason);
}

static void fill_section(const section_t *section, const raw_t *raw, void *base, const char *path,
                         complaints_t *complaints);

static void fill_list(const section_t *list, const raw_t *elements, unsigned count, void *base,
                      const char *path, complaints_t *complaints)
{
    if (count == 0)
        return;
    char *to = allocate(count, list->element_size);
    *(void **)field_at(base, list->elements_offset) = to;
    *(unsigned *)field_at(base, list->count_offset) = count;
    for (unsigned i = 0; i < count; i++) {
        char element[PATH_SIZE];
        path_of_element(element, path, i);
        fill_section(list, &elements[i], to + i * list->element_size, element, complaints);
    }
}

static void fill_section(const section_t *section, const raw_t *raw, void *base, const char *path,
                         complaints_t *complaints)
{
    static const raw_t nothing;
    for (size_t i = 0; i < section->settings_count; i++) {
        char below[PATH_SIZE];
        path_of_key(below, path, section->settings[i].key);
        fill_setting(&section->settings[i], raw->values[i], base, below, complaints);
    }
    check_section(section, path, complaints);
    for (size_t i = 0; i < section->children_count; i++) {
        const section_t *child = &section->children[i];
        const raw_t *below_raw = raw->children[i];
        char below[PATH_SIZE];
        path_of_key(below, path, child->name);
        if (child->list)
            fill_list(child, below_raw, raw->children_count[i], base, below, complaints);
        else
            fill_section(child, below_raw == NULL ? &nothing : below_raw, base, below, complaints);
    }
}

/* ---- defaults that depend on something ---- */

static void default_node_name(config_t *config, complaints_t *complaints)
{
    static const char *const path = "node.name";
    const setting_t *setting = section_setting(section_child(&config_root, "node", 4), "name", 4);
    char host[256] = "", reason[REASON_SIZE];
    if (config->node.name != NULL || !place_is_sound(complaints, path))
        return;
    gethostname(host, sizeof(host) - 1);
    if (!value_read(setting, host, &config->node.name, reason))
        complain_value(complaints, path, setting, "is missing, and the host's name %s", reason);
}

static void default_modes(config_t *config, const complaints_t *complaints)
{
    for (unsigned i = 0; i < config->shards_count; i++) {
        for (unsigned j = 0; j < config->shards[i].servers_count; j++) {
            config_server_t *server = &config->shards[i].servers[j];
            char mode[PATH_SIZE];
            snprintf(mode, sizeof(mode), "shards[%u].servers[%u].mode", i, j);
            if (place_line(complaints, mode) == 0)
                server->mode =
                    server->status == SERVER_PRIMARY ? SERVER_READ_WRITE : SERVER_READ_ONLY;
        }
    }
}

/* ---- */

static void free_section(const section_t *section, void *base)
{
    for (size_t i = 0; i < section->settings_count; i++)
        value_free(&section->settings[i], field_at(base, section->settings[i].offset));
    for (size_t i = 0; i < section->children_count; i++) {
        const section_t *child = &section->children[i];
        if (!child->list) {
            free_section(child, base);
            continue;
        }
        char *elements = *(char **)field_at(base, child->elements_offset);
        unsigned count = *(unsigned *)field_at(base, child->count_offset);
        for (unsigned k = 0; k < count; k++)
            free_section(child, elements + k * child->element_size);
        free(elements);
    }
}

void config_free(config_t *config)
{
    if (config == NULL)
        return;
    free_section(&config_root, config);
    deployment_free(config->deployment);
    free(config);
}

/* What the text says, checked as far as it goes; NULL if it says nothing. */
static config_t *read_text(const char *text, size_t n, complaints_t *complaints)
{
    size_t clean_n;
    char *clean = document_clean(text, n, &config_root, complaints, &clean_n);
    if (clean == NULL)
        return NULL;
    raw_file_t *raw = raw_load(clean, clean_n, &config_root, complaints);
    free(clean);
    if (raw == NULL)
        return NULL;
    config_t *config = allocate(1, sizeof(*config));
    fill_section(&config_root, raw_root(raw), config, "", complaints);
    raw_free(raw);
    default_node_name(config, complaints);
    default_modes(config, complaints);
    check_config(config, complaints);
    config->deployment = deployment_new(config->node.deployment);
    return config;
}

static config_t *read_file(const char *path, complaints_t *complaints)
{
    char reason[REASON_SIZE];
    size_t n;
    char *text = file_read(path, 0, FILE_BYTES_MAX, &n, reason);
    config_t *config = NULL;
    if (text == NULL)
        complain_at(complaints, 0, "%s", reason);
    else if (memchr(text, '\0', n) != NULL)
        complain_at(complaints, 0, "holds NUL bytes, and so is not YAML");
    else
        config = read_text(text, n, complaints);
    free(text);
    return config;
}

int config_load(const char *path, config_t **out, FILE *complaints_out)
{
    complaints_t complaints = {.file = path};
    config_t *config = read_file(path, &complaints);
    int mistakes = complaints.count;
    complaints_finish(&complaints, complaints_out);
    if (mistakes == 0) {
        *out = config;
        return 0;
    }
    config_free(config);
    return mistakes;
}
