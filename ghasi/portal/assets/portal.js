// The script of every page: htmx, and behaviour that hangs on data- attributes (each module's head names its own).
import "./requests.js";
import "./keeping.js";
import "./live.js";
import "./dialogs.js";
import "./tabs.js";
import "./copying.js";
import "./secrets.js";
import "./looks.js";
