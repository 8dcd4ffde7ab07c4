-- A database for each service; run once, by the image of PostgreSQL, when its volume is new.
CREATE DATABASE auth;
CREATE DATABASE messages;
CREATE DATABASE webhooks;
CREATE DATABASE billing;
