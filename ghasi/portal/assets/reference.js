// The API reference: Swagger UI, read-only, in the portal's look. Its components are replaced or mended by its own plugin
// API where they would offer what there is not (trying out, authorizing) or be no good without a mouse or a screen.
import "./reference_links.js";
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";

const LEAD_MS = 3000;
const place = document.querySelector("[data-reference]");

const Reference = ({ React, Im, getComponent: component, getSystem: system }) => {
  const { createElement: h, useEffect, useRef } = React;
  const nothing = () => () => null;

  // Headings and no toggles: every section is open.
  const Section = ({ tag, tagObj, children }) => {
    const description = tagObj.getIn(["tagDetails", "description"]);
    return h("section", { className: "reference-section", "aria-labelledby": `section-${slug(tag)}` },
      h("h3", { id: `section-${slug(tag)}` }, tag),
      description && h("p", null, description),
      children);
  };

  // Without the link that stands inside the button otherwise.
  const Path = ({ operationProps }) => h("span", { className: "opblock-summary-path" }, operationProps.get("path"));

  const Code = ({ children, label = "Example" }) => {
    const text = String(children ?? "");
    return h("div", { className: "code" },
      // a box that scrolls is reached by the keyboard; [data-copy] is portal.js's
      h("pre", { tabIndex: 0, role: "group", "aria-label": label }, h("code", null, text)),
      h("button", { type: "button", className: "copy", "data-copy": text, "aria-label": `Copy: ${label}` },
        h("span", { className: "todo" }, "Copy"), h("span", { className: "done" }, "Copied")));
  };

  // The example and, folded below answers and open below requests, what each field means.
  const ModelExample = (props) => {
    const Model = component("ModelWrapper");
    return h("div", { className: "reference-model" },
      props.example || null,
      props.schema && h("details", { open: Boolean(props.includeWriteOnly) },
        h("summary", null, "Fields"),
        h(Model, { ...props, expandDepth: props.getConfigs().defaultModelExpandDepth })));
  };

  const samples = (operation) =>
    (operation.get("x-codeSamples")?.toJS() ?? []).map(({ lang, label, source }) =>
      h("div", { className: "opblock-section", key: lang },
        h("div", { className: "opblock-section-header" }, h("h4", null, label ?? lang)),
        h(Code, { label: `${label ?? lang}: ${operation.get("summary")}` }, source)));

  const scopes = (operation) => {
    const needed = new Set((operation.get("security")?.toJS() ?? []).flatMap((one) => Object.values(one).flat()));
    return [...needed];
  };

  const notes = (operation) => {
    const needed = scopes(operation);
    const takesToken = (operation.get("security")?.toJS() ?? []).some((one) => "userToken" in one);
    const limit = operation.get("x-ghasi-limit")?.toJS();
    return h("ul", { className: "reference-notes" },
      needed.length > 0 && h("li", null, "API key with the scope ", needed.map((scope) => h("code", { key: scope }, scope))),
      takesToken && needed.length === 0 && h("li", null, "Access token of a user, no API key"),
      limit && h("li", null, `${limit.requests} requests a minute per ${limit.per === "ip" ? "IP address" : limit.per}`),
      operation.has("x-ghasi-timeout-s") && h("li", null, `Answers within ${operation.get("x-ghasi-timeout-s")} s`));
  };

  const parameters = (Original) => (props) => h("div", { className: "reference-request" },
    notes(props.operation),
    samples(props.operation),
    (props.parameters.length ?? props.parameters.size) || props.operation.get("requestBody") ? h(Original, props) : null);

  // The table calls itself a region, without a name and with no need: as a table it reads better.
  const responses = (Original) => (props) => {
    const box = useRef(null);
    useEffect(() => {
      for (const table of box.current.querySelectorAll("table[role=region]")) {
        table.removeAttribute("role");
        table.removeAttribute("aria-live");
      }
    });
    return h("div", { ref: box }, h(Original, props));
  };

  // What all errors look like is said once, above; here stand their codes.
  const response = (Original) => (props) => {
    const isError = Number(props.code) >= 400;
    return h(Original, isError ? { ...props, response: props.response.delete("content").delete("headers") } : props);
  };

  // What customers' own servers are sent, and what they may answer.
  const Events = () => {
    const Operation = component("OperationContainer", true);
    const events = Object.entries(system().specSelectors.selectWebhooksOperations() ?? {});
    return h("section", { className: "reference-section", "aria-labelledby": "section-events" },
      h("h3", { id: "section-events" }, "Events"),
      h("p", null, "What is sent to your endpoints."),
      events.flatMap(([name, operations]) => operations.map(({ operation, method, specPath }) =>
        h(Operation, { key: name, op: operation, tag: "events", method, path: name, specPath: Im.List(specPath), allowTryItOut: false }))));
  };

  const Layout = () => h("div", { className: "swagger-ui" }, h(component("operations", true)), h(Events));

  return {
    components: { ReferenceLayout: Layout },
    wrapComponents: {
      OperationTag: () => Section,
      OperationSummaryPath: () => Path,
      HighlightCode: () => Code,
      modelExample: () => ModelExample,
      CopyToClipboardBtn: nothing,
      authorizeOperationBtn: nothing,
      JsonSchemaForm: nothing,
      JSONSchema202012ExpandDeepButton: nothing,
      parameters, response, responses,
    },
    statePlugins: {
      layout: {
        wrapActions: {
          show: (show) => (key, isShown) => {
            if (key[0] === "operations" && key[1] !== "events") history.replaceState(null, "", isShown ? `#${key[2]}` : location.pathname);
            return show(key, isShown);
          },
        },
      },
    },
  };
};

function slug(text) {
  return text.toLowerCase().replace(/[^a-z0-9]+/g, "-");
}

// `#send_message` opens the operation of that name and leads the eye and the keyboard to it.
function follow(ui) {
  const operation = decodeURIComponent(location.hash.slice(1));
  const found = ui.specSelectors.operations().find((one) => one.getIn(["operation", "operationId"]) === operation);
  for (const link of document.querySelectorAll("[data-reference-link]")) {
    if (found && link.hash === location.hash) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  if (!found) return;
  const tag = found.getIn(["operation", "tags", 0]);
  ui.layoutActions.show(["operations", tag, operation], true);
  lead(operation, performance.now() + LEAD_MS);
}

// The operation is drawn some time after it is asked for.
function lead(operation, until) {
  const block = [...place.querySelectorAll(".opblock.is-open")].find((one) => one.id.endsWith(`-${operation}`));
  if (!block) {
    if (performance.now() < until) requestAnimationFrame(() => lead(operation, until));
    return;
  }
  block.scrollIntoView({ block: "start" });
  block.querySelector("button").focus({ preventScroll: true });
}

async function show() {
  const failure = document.querySelector("[data-reference-failure]");
  failure.hidden = true;
  let spec;
  try {
    const answer = await fetch(place.dataset.reference, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(String(answer.status));
    spec = await answer.json();
  } catch {
    failure.hidden = false;
    return;
  }
  const ui = SwaggerUI({
    spec,
    domNode: place,
    layout: "ReferenceLayout",
    plugins: [Reference],
    docExpansion: "list",
    defaultModelExpandDepth: 2,
    defaultModelsExpandDepth: -1,
    supportedSubmitMethods: [],
    syntaxHighlight: false,
    validatorUrl: null,
    onComplete: () => {
      follow(ui);
      addEventListener("hashchange", () => follow(ui));
    },
  });
}

document.querySelector("[data-reference-again]").addEventListener("click", show);
show();
