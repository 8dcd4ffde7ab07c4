-- The newest parts of a message's key are looked at, however often somebody sends the same.
DROP INDEX messages.inbound_parts_of_message;
CREATE INDEX inbound_parts_of_message ON messages.inbound_parts (carrier, sender, recipient, reference, parts, id);
