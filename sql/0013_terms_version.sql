-- What an administrator's If-Match is compared with. A new item begins with a time in milliseconds, so
-- that no two items of one name ever have the same version.
ALTER TABLE inventory
  ADD COLUMN terms_version BIGINT UNSIGNED NOT NULL DEFAULT 1
    COMMENT 'goes up when somebody changes the terms; no rebuild raises it';
