// Builds ghasi/portal/static from this folder: scripts by esbuild, the style sheet by Tailwind, fonts, icons, licences.
// Every file is named by a hash of its content; manifest.json, written last, says which name is which file.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

// One line here is one more script: `NAME` is bundled from assets/NAME and asset("NAME") gives its path.
const SCRIPTS = ["portal.js", "chart.js", "sign_in.js", "reference.js", "send.js"];
const STYLES = ["portal.css", "reference.css"];
const FONTS = ["latin", "latin-ext", "cyrillic", "cyrillic-ext", "greek"];
const PICTURES = ["mark.svg"];

const HERE = dirname(fileURLToPath(import.meta.url));
const OUT = join(HERE, "..", "static");
const MODULES = join(HERE, "node_modules");
const COMPRESSED = new Set([".js", ".css", ".svg", ".txt"]);

const manifest = {};
const written = new Set(["manifest.json", "icons.json"]);

function store(name, content) {
  const hash = createHash("sha256").update(content).digest("hex").slice(0, 16);
  const extension = extname(name);
  const hashed = `${basename(name, extension)}.${hash}${extension}`;
  manifest[name] = hashed;
  save(hashed, content);
  if (COMPRESSED.has(extension)) {
    save(`${hashed}.gz`, gzipSync(content, { level: 9 }));
    save(`${hashed}.br`, brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
  }
}

function save(name, content) {
  written.add(name);
  // whole or not at all: a portal may be starting meanwhile
  const scratch = join(OUT, `.${process.pid}.${name}`);
  writeFileSync(scratch, content);
  renameSync(scratch, join(OUT, name));
}

function previousNames() {
  const file = join(OUT, "manifest.json");
  const names = existsSync(file) ? Object.values(JSON.parse(readFileSync(file, "utf8"))) : [];
  return new Set(names.flatMap((name) => [name, `${name}.gz`, `${name}.br`]));
}

// What uPlot offers and no chart here uses (bars, splines, joining, dates) is left out: 3 KB less.
const LEAN_CHARTS = {
  name: "lean-charts",
  setup(to) {
    to.onLoad({ filter: /uPlot\.esm\.js$/ }, ({ path }) => {
      const text = readFileSync(path, "utf8");
      const extras = text.indexOf("\nuPlot.assign = assign;");
      if (extras < 0) throw new Error("uPlot's extras are not where they were: see LEAN_CHARTS");
      return { contents: `${text.slice(0, extras)}\nexport default uPlot;` };
    });
  },
};

// Of the Firebase SDK's other ways to sign in and to keep who has, esbuild holds on to the classes that get a static
// field below them: without it they go, and 5 KB with them.
const UNUSED = [
  ...["PhoneAuthProvider", "FacebookAuthProvider", "GithubAuthProvider", "TwitterAuthProvider"],
  ...["PhoneMultiFactorGenerator", "TotpMultiFactorGenerator"],
  ...["BrowserLocalPersistence", "CookiePersistence", "IndexedDBLocalPersistence", "Receiver"],
];
const LEAN_SIGN_IN = {
  name: "lean-sign-in",
  setup(to) {
    to.onLoad({ filter: /@firebase[\\/]auth[\\/]dist[\\/]esm[\\/]index-\w+\.js$/ }, ({ path }) => {
      let text = readFileSync(path, "utf8");
      for (const name of UNUSED) {
        const lean = text.replace(new RegExp(`^${name}\\.\\w+ = .*;$`, "gm"), "");
        if (lean === text) throw new Error(`The Firebase SDK's ${name} is not what it was: see LEAN_SIGN_IN`);
        text = lean;
      }
      return { contents: text };
    });
  },
};

async function scripts() {
  const comments = [];
  for (const name of SCRIPTS.filter((script) => existsSync(join(HERE, script)))) {
    const result = await build({
      entryPoints: [join(HERE, name)],
      outdir: OUT,
      bundle: true,
      minify: true,
      write: false,
      format: "esm",
      target: "es2022",
      plugins: [LEAN_CHARTS, LEAN_SIGN_IN],
      legalComments: "external",
      logLevel: "warning",
      // htmx has an eval that its setting allowEval=false, and the policy of every page, keep shut
      logOverride: { "direct-eval": "silent" },
    });
    for (const file of result.outputFiles) {
      if (file.path.endsWith(".js")) store(name, Buffer.from(file.contents));
      else comments.push(file.text);
    }
  }
  return comments;
}

function fonts() {
  for (const subset of FONTS) {
    const file = join(MODULES, "@fontsource-variable/inter/files", `inter-${subset}-wght-normal.woff2`);
    store(`inter-${subset}.woff2`, readFileSync(file));
  }
}

function styles() {
  const scratch = mkdtempSync(join(tmpdir(), "ghasi-assets-"));
  try {
    for (const name of STYLES.filter((style) => existsSync(join(HERE, style)))) {
      const output = join(scratch, name);
      const tailwind = join(MODULES, "@tailwindcss/cli/dist/index.mjs");
      const options = ["--input", join(HERE, name), "--output", output, "--minify"];
      const ran = spawnSync(process.execPath, [tailwind, ...options], { cwd: HERE, encoding: "utf8" });
      if (ran.status !== 0) throw new Error(`Tailwind on ${name}: ${ran.error ?? ran.stderr}`);
      // Tailwind leaves url() alone: the names in it become the hashed ones here
      const css = readFileSync(output, "utf8").replace(/\/assets\/([\w.-]+)/g, (whole, file) => {
        if (!(file in manifest)) throw new Error(`${name} names ${whole}, which is not built`);
        return `/assets/${manifest[file]}`;
      });
      store(name, Buffer.from(css));
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

// What the templates' icon() writes into pages: it is never sent as a file.
function icons() {
  const all = {};
  const folder = join(MODULES, "lucide-static/icons");
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".svg"))) {
    const svg = readFileSync(join(folder, file), "utf8");
    const inner = svg.slice(svg.indexOf(">", svg.indexOf("<svg")) + 1, svg.lastIndexOf("</svg>"));
    all[basename(file, ".svg")] = inner.replace(/\s*\n\s*/g, "").replace(/ \/>/g, "/>");
  }
  save("icons.json", JSON.stringify(all));
}

function licenses(comments) {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(HERE, "package.json"), "utf8"));
  const shipped = [...Object.keys(dependencies), ...Object.keys(devDependencies).filter((name) => name === "tailwindcss")];
  const texts = shipped.sort().map((name) => {
    const folder = join(MODULES, name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
    return `${name} ${version} (${license})\n\n${file ? readFileSync(join(folder, file), "utf8").trim() : license}\n`;
  });
  store("LICENSES.txt", Buffer.from([...texts, ...comments].join(`\n${"-".repeat(80)}\n\n`)));
}

mkdirSync(OUT, { recursive: true });
const previous = previousNames();
fonts();
for (const name of PICTURES) store(name, readFileSync(join(HERE, name)));
styles();
icons();
licenses(await scripts());
save("manifest.json", JSON.stringify(manifest, null, 1));
for (const name of readdirSync(OUT)) {
  // a portal that has just read the previous manifest may still be reading its files
  if (!written.has(name) && !previous.has(name) && !name.startsWith(".")) rmSync(join(OUT, name));
}
