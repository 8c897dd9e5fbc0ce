/**
 * Writes what users get: `dist/bg`, an executable of this platform, `dist/bg.mjs`, one script that
 * runs under Bun, Deno and Node from any folder, and `dist/bg.1`, the man page. Run it with Bun.
 */
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import {
	chmod,
	copyFile,
	mkdir,
	readdir,
	readFile,
	rename,
	rm,
	writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import type { BunPlugin } from "bun";
import { renderMan } from "./lib/cli/help/man.ts";
import { loadVerbs } from "./lib/cli/verb.ts";
import { verbs } from "./lib/cli/verbs.ts";
import { runtimeFlags } from "./lib/process/executables.ts";
import { removedFolderWord } from "./lib/process/runtime.ts";
import { version } from "./package.json" with { type: "json" };

/** Starts Deno in `/` if the current folder was removed, and tells the program so. */
const leaveRemovedFolder = `[ -n "$(pwd -P 2>/dev/null)" ] || { cd / && set -- ${removedFolderWord} "$@"; }`;

/**
 * The first line of the script is for the kernel, the second for `sh` (for JavaScript it is a
 * string and a comment): the fastest runtime there is, with nothing of the current folder read.
 */
const runtimes = Object.entries(runtimeFlags).map(([runtime, flags]) => {
	const call = `exec ${[runtime, ...flags].join(" ")} "$0" "$@"`;
	const act = runtime === "deno" ? `{ ${leaveRemovedFolder}; ${call}; }` : call;
	return `command -v ${runtime} >/dev/null && ${act}`;
});
const noRuntime = 'echo "bg: needs bun, deno or node on PATH" >&2; exit 111';
const header = `#!/bin/sh\n':' //; ${[...runtimes, noRuntime].join("; ")}\n`;

/** The platforms of a release, by Bun's names. */
export const targets = [
	"linux-x64",
	"linux-arm64",
	"linux-x64-musl",
	"linux-arm64-musl",
	"darwin-x64",
	"darwin-arm64",
] as const;

type Target = (typeof targets)[number];

const root = import.meta.dir;
const dist = join(root, "dist");

/**
 * The script has two parts: the door with the fast path of a hook, which every runtime reads, and
 * behind it, as comments, all else, which is compiled only once something of it is called for.
 */
async function buildScript(entry: string): Promise<void> {
	const deferred: string[] = [];
	const entryScript = await bundle(entry, "node", "esm", {
		name: "the rest comes later",
		setup(build) {
			build.onResolve(
				{ filter: /^\.\.?\/.*\.ts$/ },
				({ kind, path, importer }) => {
					if (kind !== "dynamic-import") return undefined;
					deferred.push(join(dirname(importer), path));
					return { path: "rest", namespace: "rest" };
				},
			);
			build.onLoad({ filter: /./, namespace: "rest" }, () => ({
				contents: deferredLoader,
				loader: "js",
			}));
		},
	});
	const all = deferred.map((path) => `export * from ${JSON.stringify(path)};`);
	const deferredScript = await bundle("rest", "node", "cjs", {
		name: "what the door calls for",
		setup(build) {
			build.onResolve({ filter: /^rest$/ }, () => ({
				path: "rest",
				namespace: "rest",
			}));
			build.onLoad({ filter: /./, namespace: "rest" }, () => ({
				contents: all.join("\n"),
				loader: "js",
			}));
		},
	});
	if (/[\r\u2028\u2029]/.test(deferredScript))
		throw new Error("a line that ends twice");
	const path = join(dist, "bg.mjs");
	const comment = ["", deferredMark, ...deferredScript.split("\n")].join(
		"\n//",
	);
	await Bun.write(path, header + entryScript + comment);
	await chmod(path, 0o755);
}

const deferredMark = "-- the rest";

/** Compiles the rest, once; all that it asks for are modules of the runtime. */
const deferredLoader = `
const require = process.getBuiltinModule;
const rest = { exports: {} };
const text = require("node:fs").readFileSync(new URL(import.meta.url), "utf8");
const [, , ...lines] = text.slice(text.lastIndexOf("\\n//${deferredMark}\\n")).split("\\n//");
new Function("exports", "require", "module", lines.join("\\n"))(rest.exports, require, rest);
export const { handleEvent, logHookFault, supervise, runCli } = rest.exports;
`;

/** What is called for later stays where it is. */
const keepDynamicImports: BunPlugin = {
	name: "leave dynamic imports",
	setup(build) {
		build.onResolve(
			{ filter: /^\.\.?\/.*\.ts$/ },
			({ kind, path, importer }) =>
				kind === "dynamic-import"
					? { path: join(dirname(importer), path), external: true }
					: undefined,
		);
	},
};

async function bundle(
	entry: string,
	target: "node" | "bun",
	format: "cjs" | "esm",
	plugin?: BunPlugin,
): Promise<string> {
	const { outputs } = await Bun.build({
		entrypoints: [entry],
		target,
		format,
		minify: true,
		...(plugin && { plugins: [plugin] }),
	});
	const [file] = outputs;
	if (!file) throw new Error("the bundler wrote nothing");
	return file.text();
}

/**
 * Each piece of an executable is a file to open and to link: the door comes in one, and so does
 * what a hook does.
 */
async function buildExecutable(
	entry: string,
	outfile: string,
	target?: Target,
): Promise<void> {
	const pieces = new Map<string, string>();
	for (const path of [entry, join(root, "lib/hook/handle-event.ts")])
		pieces.set(path, await bundle(path, "bun", "esm", keepDynamicImports));
	const plugin: BunPlugin = {
		name: "pieces",
		setup(build) {
			build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
				const contents = pieces.get(path);
				return contents === undefined ? undefined : { contents, loader: "js" };
			});
		},
	};
	await compile(entry, outfile, { plugin, ...(target && { target }) });
}

/**
 * Compiles a program into an executable that obeys no file of the folder it is called in; for this
 * platform where no other is named.
 */
export async function compile(
	entry: string,
	outfile: string,
	{ plugin, target }: { plugin?: BunPlugin; target?: Target } = {},
): Promise<void> {
	const unfinished = `${outfile}.new`;
	await Bun.build({
		entrypoints: [entry],
		target: "bun",
		format: "esm",
		minify: true,
		bytecode: true,
		splitting: true,
		...(plugin && { plugins: [plugin] }),
		compile: {
			outfile: unfinished,
			// An executable without any flag of Bun's own does not start in a removed folder.
			execArgv: ["--no-env-file"],
			...(target && { target: `bun-${target}` }),
			autoloadDotenv: false,
			autoloadBunfig: false,
			autoloadTsconfig: false,
			autoloadPackageJson: false,
		},
	});
	// The linker leaves the file in pieces in the page cache; a copy starts faster.
	await Bun.$`cp ${unfinished} ${outfile}.copy`;
	await rename(`${outfile}.copy`, outfile);
	await rm(unfinished);
}

/** Writes `dist/release/`: what is there to download, and the sums to check it by. */
async function buildRelease(entry: string): Promise<void> {
	const folder = join(dist, "release");
	await rm(folder, { recursive: true, force: true });
	await mkdir(folder);
	for (const name of ["bg.mjs", "bg.1"])
		await copyFile(join(dist, name), join(folder, name));
	for (const target of targets) {
		const path = join(folder, `bg-${target}`);
		await buildExecutable(entry, path, target);
		await pipeline(
			createReadStream(path),
			createGzip(),
			createWriteStream(`${path}.gz`),
		);
		await rm(path);
	}
	await buildPlugin(join(folder, "bg-plugin.tar.gz"));
	const names = (await readdir(folder)).sort();
	const sums = names.map(async (name) => {
		const bytes = await readFile(join(folder, name));
		return `${createHash("sha256").update(bytes).digest("hex")}  ${name}\n`;
	});
	await writeFile(
		join(folder, "SHA256SUMS"),
		(await Promise.all(sums)).join(""),
	);
}

/** The plugin as the script itself writes it; its folder gives the marketplace its name. */
async function buildPlugin(archive: string): Promise<void> {
	const plugin = join(dist, "bg-tasks");
	const { execPath } = process;
	await Bun.$`${execPath} ${join(dist, "bg.mjs")} install --plugin ${plugin}`.quiet();
	await Bun.$`tar -czf ${archive} -C ${dist} bg-tasks`;
	await rm(plugin, { recursive: true });
}

if (import.meta.main) {
	await mkdir(dist, { recursive: true });
	const entry = join(root, "bg.ts");
	await Promise.all([
		buildScript(entry),
		buildExecutable(entry, join(dist, "bg")),
		loadVerbs(verbs).then((known) =>
			Bun.write(join(dist, "bg.1"), renderMan(known, version)),
		),
	]);
	if (process.argv[2] === "release") await buildRelease(entry);
}
