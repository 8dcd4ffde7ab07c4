// htmx, set so that it needs nothing that the Content-Security-Policy forbids.
import htmx from "htmx.org/dist/htmx.esm.js";

Object.assign(htmx.config, {
  allowEval: false,
  allowScriptTags: false,
  includeIndicatorStyles: false,
  selfRequestsOnly: true,
  // pages hold what customers wrote: none is kept in the browser's storage
  historyCacheSize: 0,
  refreshOnHistoryMiss: true,
  timeout: 15000,
  // not style: to copy one, even an empty one, is what style-src 'self' forbids
  attributesToSettle: ["class", "width", "height"],
  responseHandling: [
    { code: "204", swap: false },
    { code: "[23]..", swap: true },
    { code: "401", swap: false, error: true },
    { code: "422", swap: true },
    { code: "...", swap: true, error: true },
  ],
});

export default htmx;
