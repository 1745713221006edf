#include "config/check.h"

#include <string.h>
#include <strings.h>

static bool is_given(const char *path, const char *key, const complaints_t *complaints)
{
    char other[PATH_SIZE];
    path_of_key(other, path, key);
    return place_line(complaints, other) != 0;
}

static void check_given(const setting_t *setting, const char *section, const char *path,
                        complaints_t *complaints)
{
    if (setting->instead != NULL && is_given(section, setting->instead, complaints))
        complain(complaints, path, "is given beside %s; give one of them", setting->instead);
    if (setting->needs != NULL && !is_given(section, setting->needs, complaints))
        complain(complaints, path, "needs %s beside it; give both or neither", setting->needs);
    if (setting->not_beside != NULL && is_given(section, setting->not_beside, complaints))
        complain(complaints, path, "means nothing beside %s; leave one out", setting->not_beside);
}

void check_section(const section_t *section, const char *path, complaints_t *complaints)
{
    if (!place_is_sound(complaints, path))
        return;
    for (size_t i = 0; i < section->settings_count; i++) {
        const setting_t *setting = &section->settings[i];
        char below[PATH_SIZE];
        path_of_key(below, path, setting->key);
        if (place_line(complaints, below) != 0)
            check_given(setting, path, below, complaints);
        else if (setting->required &&
                 (setting->instead == NULL || !is_given(path, setting->instead, complaints)))
            complain_value(complaints, below, setting, "is missing");
    }
}

static void check_above(const char *path, uint32_t value, const char *lower_path, uint32_t lower,
                        complaints_t *complaints)
{
    if (place_is_sound(complaints, path) && place_is_sound(complaints, lower_path) &&
        value <= lower)
        complain(complaints, path, "%u is not above %s, which is %u", value, lower_path, lower);
}

static bool is_every_address(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

/* Said here, because listeners that share a port by SO_REUSEPORT would start: and the kernel
   would deal buyers out to both. */
static void check_listeners(const config_t *config, complaints_t *complaints)
{
    const config_address_t *http = &config->http.listen, *admin = &config->admin.listen;
    if (!place_is_sound(complaints, "http.listen") || !place_is_sound(complaints, "admin.listen"))
        return;
    bool same_host = strcasecmp(http->host, admin->host) == 0 || is_every_address(http->host) ||
                     is_every_address(admin->host);
    if (http->port == admin->port && same_host)
        complain(complaints, "admin.listen", "is the address of http.listen; give another port");
}

void check_config(const config_t *config, complaints_t *complaints)
{
    /* An order may still be admitted while its buyer waits. */
    check_above("orders.commit_deadline_ms", config->orders.commit_deadline_ms,
                "orders.answer_deadline_ms", config->orders.answer_deadline_ms, complaints);
    check_above("shutdown.deadline_ms", config->shutdown.deadline_ms, "shutdown.readiness_delay_ms",
                config->shutdown.readiness_delay_ms, complaints);
    check_listeners(config, complaints);
    check_shards(config, complaints);
}
