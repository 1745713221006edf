/* The accepted values of a setting as text: for diagnostics, and for the list of all settings. */
#include <string.h>

#include "config/config.h"
#include "config/settings.h"

static void print_words(const char *const *words, FILE *out)
{
    for (int i = 0; words[i] != NULL; ++i) {
        if (i != 0)
            fputs(words[i + 1] == NULL ? " or " : ", ", out);
        fputs(words[i], out);
    }
}

/* The text of each type; min and max are its arguments. */
static const struct {
    const char *word, *wanted;
} types[SETTING_TYPE_COUNT] = {
    [SETTING_NUMBER] = {"whole number", "%u to %u"},
    [SETTING_PORT] = {"port", "%u to %u"},
    [SETTING_FRACTION] = {"number", "%u to %u, with a fraction if need be"},
    [SETTING_BOOL] = {"boolean", "true or false"},
    [SETTING_WORD] = {"word", ""},
    [SETTING_NAME] = {"name", "a name of %u to %u letters, digits, '.', '_' and '-'"},
    [SETTING_TEXT] = {"text", "a text of %u to %u bytes"},
    [SETTING_HOST] = {"host", "a host name or an IP address"},
    [SETTING_SOCKET] = {"path", "the path of a Unix socket"},
    [SETTING_FILE] = {"path", "the path of a readable file"},
    [SETTING_SECRET] = {"secret", "a secret of %u to %u bytes"},
    [SETTING_SECRET_FILE] = {"path",
                             "the path of a file of mode 600 with one line of %u to %u bytes"},
    [SETTING_ADDRESS] = {"address",
                         "host:port, or in quotes \"[IPv6]:port\", with a port from 1 to 65535"},
    [SETTING_SLOTS] = {"range", "the first and the last of its slots, %u to %u, as in 0-511"},
};

void setting_print_wanted(const setting_t *setting, FILE *out)
{
    const char *fallback =
        setting->fallback_shown != NULL ? setting->fallback_shown : setting->fallback;
    fprintf(out, types[setting->type].wanted, setting->min, setting->max);
    if (setting->type == SETTING_WORD)
        print_words(setting->words, out);
    if (setting->type == SETTING_SOCKET)
        fprintf(out, ", at most %u bytes", setting->max);
    if (setting->private_file)
        fputs(" that is closed to others", out);
    fputs(" (", out);
    if (setting->unit != NULL)
        fprintf(out, "%s; ", setting->unit);
    if (fallback != NULL)
        fprintf(out, "default %s", fallback);
    else
        fputs(setting->required ? "required" : "optional", out);
    if (setting->instead != NULL)
        fprintf(out, "; or else %s", setting->instead);
    fputc(')', out);
}

static void describe_section(const section_t *section, const char *prefix, FILE *out)
{
    for (size_t i = 0; i < section->settings_count; ++i) {
        const setting_t *setting = &section->settings[i];
        fprintf(out, "%s%s: %s\n    ", prefix, setting->key, types[setting->type].word);
        setting_print_wanted(setting, out);
        fprintf(out, "\n    %s\n", setting->help);
    }
    for (size_t i = 0; i < section->children_count; ++i) {
        const section_t *child = &section->children[i];
        char below[64];
        snprintf(below, sizeof(below), "%.40s%.16s%s", prefix, child->name,
                 child->list ? "[]." : ".");
        if (child->list)
            fprintf(out, "%s%s: list\n    1 to %u elements (required)\n    %s\n", prefix,
                    child->name, child->count_max, child->help);
        describe_section(child, below, out);
    }
}

void config_describe(FILE *out)
{
    describe_section(&config_root, "", out);
}
