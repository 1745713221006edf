-- Expiry goes by the reminders in holds.
ALTER TABLE orders DROP INDEX orders_expiry;
