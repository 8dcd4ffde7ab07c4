-- What carriers.toml said of the class of the carrier that took a message, or brought it: rates may depend on it.
ALTER TABLE messages.messages ADD COLUMN carrier_class text;
