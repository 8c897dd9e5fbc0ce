import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { root } from "./harness.ts";

/** The rooms from the ground up: each imports only from those before it. */
const layers = [
	["error"],
	["events", "patterns", "runtime", "self"],
	["task"],
	["system"],
	["machine"],
	["record"],
	["process"],
	["tree"],
	["names"],
	["files"],
	["sessions"],
	["notices"],
	["lock", "directory", "outputs", "launching"],
	["store"],
	["reindex", "held"],
	["droid", "stream"],
	["print"],
	["brief"],
	["arguments"],
	["verb"],
	["help", "completion"],
	["man"],
	["output"],
	["pages"],
	["program"],
	["spawn"],
	["queue", "unique"],
	["prune"],
	["stop-requests"],
	["schedule", "stopper", "turns", "sweep", "keys"],
	["check"],
	["retry"],
	["ending"],
	["supervise", "launch", "wait", "cancel", "pause"],
	["stale", "cleanup", "again", "batch"],
	["payload"],
	["tell"],
	["subagents"],
	["react"],
	["hook"],
	["width"],
	["terminal"],
	["jsonc"],
	["merge"],
	["layout"],
	["install"],
	["outside"],
	["installed"],
	["doctor"],
	["answer"],
	["glance"],
	["table", "card"],
	["watch"],
	["report"],
	[
		"commands/again",
		"commands/batch",
		"commands/cancel",
		"commands/cleanup",
		"commands/complete",
		"commands/completion",
		"commands/doctor",
		"commands/follow",
		"commands/help",
		"commands/hook",
		"commands/install",
		"commands/launch",
		"commands/list",
		"commands/output",
		"commands/pause",
		"commands/prune",
		"commands/report",
		"commands/run",
		"commands/status",
		"commands/wait",
		"commands/watch",
	],
	["verbs"],
	["cli"],
];

/** Who may use what comes from outside. */
const dependencies: Record<string, RegExp> = {
	citty: /^(arguments|verb|commands\/.*)$/,
	"string-width": /^width$/,
	"jsonc-parser": /^(jsonc|merge)$/,
	tinyexec: /^doctor$/,
	valibot:
		/^(batch|installed|payload|react|task|stop-requests|stream|hook|commands\/.*)$/,
};

const rooms = readdirSync(join(root, "lib"), { recursive: true })
	.map(String)
	.filter((name) => /(?<!\.d)\.ts$/.test(name))
	.map((name) => name.slice(0, -".ts".length));

const imports = (room: string): string[] => {
	const text = readFileSync(join(root, "lib", `${room}.ts`), "utf8");
	return [...text.matchAll(/(?:from|import\()\s*"([^"]+)"/g)].map(
		([, name = ""]) => name,
	);
};

const levelOf = (room: string) =>
	layers.findIndex((layer) => layer.includes(room));

test.each(rooms)("%s imports downwards only", (room) => {
	expect(levelOf(room)).toBeGreaterThanOrEqual(0);
	for (const name of imports(room)) {
		if (!name.startsWith(".")) continue;
		const path = resolve("/lib", room, "..", name);
		if (!path.startsWith("/lib/")) continue;
		if (path.startsWith("/lib/assets/"))
			expect(room).toMatch(/^(completion|layout)$/);
		if (!path.endsWith(".ts")) continue;
		const below = path.slice("/lib/".length, -".ts".length);
		const isSibling = /^commands\//.test(room) && /^commands\//.test(below);
		if (!isSibling) expect(levelOf(below)).toBeLessThan(levelOf(room));
	}
});

test.each(rooms)("%s uses what it may from outside", (room) => {
	for (const name of imports(room)) {
		if (name.startsWith(".") || name.startsWith("node:")) continue;
		const allowed = dependencies[name.split("/")[0] ?? ""];
		expect(`${name} in ${room}`).toBe(
			allowed?.test(room) ? `${name} in ${room}` : `${name} not allowed`,
		);
	}
});

/** All that a room loads, at once or later. */
function reach(room: string, seen = new Set<string>()): Set<string> {
	if (seen.has(room)) return seen;
	seen.add(room);
	for (const name of imports(room))
		if (!name.startsWith(".")) seen.add(name);
		else if (!name.endsWith(".json"))
			reach(resolve("/", room, "..", name).slice(1, -".ts".length), seen);
	return seen;
}

test("of what comes from outside the hook path reaches files and schemas alone", () => {
	const reached = [...reach("hook")];
	expect(reached).toContain("react");
	expect(reached.filter((name) => !rooms.includes(name)).toSorted()).toEqual([
		"node:fs",
		"valibot",
	]);
	for (const name of ["cli", "arguments", "answer", "spawn", "program"])
		expect(reached).not.toContain(name);
});

test("a hook that has nothing to do loads no module of a runtime, and no schema", () => {
	const atOnce = ["hook", "events", "names", "patterns", "runtime"];
	for (const room of atOnce) {
		const text = readFileSync(join(root, "lib", `${room}.ts`), "utf8");
		const direct = [...text.matchAll(/^import .* from "([^"]+)"/gm)];
		for (const [, name = ""] of direct)
			expect(atOnce.map((each) => `./${each}.ts`)).toContain(name);
	}
});

test("an answer in JSON loads nothing of what only a terminal needs", () => {
	const atOnce = (room: string, seen = new Set<string>()): Set<string> => {
		if (seen.has(room)) return seen;
		seen.add(room);
		const text = readFileSync(join(root, `${room}.ts`), "utf8");
		for (const [, name = ""] of text.matchAll(
			/^(?:import|\}) .*"(\..*)\.ts"/gm,
		))
			atOnce(resolve("/", room, "..", name).slice(1), seen);
		return seen;
	};
	for (const verb of ["launch", "list", "status", "wait", "prune", "cleanup"])
		for (const room of ["width", "terminal", "table", "card"])
			expect([verb, ...atOnce(`lib/commands/${verb}`)]).not.toContain(
				`lib/${room}`,
			);
	expect(atOnce("lib/commands/watch")).toContain("lib/width");
});

test("a runtime is named in one room alone", () => {
	for (const room of rooms.filter((each) => each !== "runtime"))
		expect(readFileSync(join(root, "lib", `${room}.ts`), "utf8")).not.toMatch(
			/\b(Bun|Deno)\./,
		);
});

test("only the door exits, and only process signals", () => {
	for (const room of rooms) {
		const text = readFileSync(join(root, "lib", `${room}.ts`), "utf8");
		if (room !== "runtime") expect(text).not.toContain("process.exit(");
		if (room !== "process") expect(text).not.toContain("process.kill");
		if (room !== "names" && room !== "store")
			expect(text).not.toMatch(/["}]\.(json|out)["`]/);
	}
});
