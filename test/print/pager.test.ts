/** What a person gets in a terminal: all of an output, through a pager if it is longer than the screen. */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { executable, type Sandbox, sandbox } from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";
import { linesOf, openPty } from "../tools/pty.ts";

function wrote(box: Sandbox, text: string): string {
	const id = addTask(box, { status: "completed" });
	writeFileSync(join(box.dir, `${id}.out`), text, { mode: 0o600 });
	return id;
}

/** A pager that keeps its input and its arguments. */
function pagerOf(box: Sandbox) {
	const script = `#!/bin/sh\necho "args $*"\ncat >'${box.home}/paged'\n`;
	const path = executable(box.home, "my-pager", script);
	return { path, paged: () => readFileSync(join(box.home, "paged"), "utf8") };
}

const lines = (count: number) =>
	Array.from({ length: count }, (_, n) => `line ${n}`);

test("an output that fits the screen is printed, a longer one goes through $PAGER, whole", async () => {
	const box = sandbox();
	const { path, paged } = pagerOf(box);
	const env = { PAGER: path };
	const short = openPty(box, ["output", wrote(box, "one\ntwo\n")], { env });
	expect(await short.ended).toBe(0);
	expect(linesOf(short.text())).toEqual(["one", "two", ""]);
	const text = `${lines(100_000).join("\n")}\n`;
	const long = openPty(box, ["output", wrote(box, text)], { env });
	expect(await long.ended).toBe(0);
	expect(linesOf(long.text())).toEqual(["args ", ""]);
	expect(paged() === text).toBe(true);
});

test("a PAGER with arguments is a command line for sh", async () => {
	const box = sandbox();
	const { path, paged } = pagerOf(box);
	const id = wrote(box, lines(50).join("\n"));
	const env = { PAGER: `${path} -R 'a b'` };
	const pty = openPty(box, ["output", id], { env });
	expect(await pty.ended).toBe(0);
	expect(linesOf(pty.text())).toEqual(["args -R a b", ""]);
	expect(paged()).toBe(`${lines(50).join("\n")}\n`);
});

test.each([
	["there is none", {}],
	["it cannot be started", { PAGER: "/none/such" }],
	["an agent calls", { PAGER: "/bin/false", BG_SESSION_ID: "s" }],
])("where %s, all is printed", async (_, env) => {
	const box = sandbox();
	const id = wrote(box, `${lines(500).join("\n")}\n`);
	const pty = openPty(box, ["output", id], { env });
	expect(await pty.ended).toBe(0);
	expect(linesOf(pty.text())).toEqual([...lines(500), ""]);
});

test("a pager that is left early is no fault", async () => {
	const box = sandbox();
	const path = executable(box.home, "brief", "#!/bin/sh\nhead -1\n");
	const id = wrote(box, "a line of text\n".repeat(500_000));
	const pty = openPty(box, ["output", id], { env: { PAGER: path } });
	expect(await pty.ended).toBe(0);
	expect(linesOf(pty.text())).toEqual(["a line of text", ""]);
});
