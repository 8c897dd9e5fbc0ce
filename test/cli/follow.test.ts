import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { program, type Sandbox, sandbox } from "../tools/harness.ts";

/** Follows a task from its first byte, as text and raw; `onText` is called once both have begun. */
async function followBoth(box: Sandbox, id: string, onText = () => {}) {
	let waiting = 2;
	const follow = async (flags: string[]) => {
		const argv = [...program, "output", "-f", "--since", "0", ...flags, id];
		const child = Bun.spawn(argv, {
			env: box.env,
			stdout: "pipe",
			stderr: "pipe",
		});
		let stdout = "";
		for await (const part of child.stdout) {
			if (!stdout && --waiting === 0) onText();
			stdout += new TextDecoder().decode(part);
		}
		return { stdout, stderr: await new Response(child.stderr).text() };
	};
	const [text, raw] = await Promise.all([follow([]), follow(["--raw"])]);
	return { text, raw };
}

test("of a task that writes too much as much is followed as is kept, and the line that says so", async () => {
	const box = sandbox();
	const loop = 'i=0; while :; do i=$((i+1)); echo "line $i"; done';
	const limit = ["run", "-q", "--max-output", "20K", "too much", "--"];
	const launched = await box.bg([...limit, "sh", "-c", loop]);
	const id = launched.stdout.trim();
	const { text, raw } = await followBoth(box, id);
	const kept = readFileSync(join(box.dir, `${id}.out`), "utf8");
	expect(kept).toEndWith("\nbg: cut here: the task wrote more than 20K\n");
	expect([text.stdout, raw.stdout]).toEqual([kept, kept]);
});

test("a task that is tried again is followed from the end of one attempt to the start of the next", async () => {
	const box = sandbox();
	const script = `if [ "$BG_ATTEMPT" = 2 ]; then echo second; exit 0; fi
		seq 1000; until [ -e go ]; do sleep 0.01; done; printf torn; exit 3`;
	const retry = ["run", "-q", "--retries", "1", "again", "--"];
	const launched = await box.bg([...retry, "sh", "-c", script]);
	const go = () => writeFileSync(join(box.home, "go"), "");
	const { text, raw } = await followBoth(box, launched.stdout.trim(), go);
	const first = Array.from({ length: 1000 }, (_, n) => `${n + 1}\n`).join("");
	const mark = "attempt 1: exited 3; attempt 2 follows";
	expect(text).toEqual({
		stdout: `${first}torn\n[${mark}]\nsecond\n`,
		stderr: "",
	});
	expect(raw).toEqual({
		stdout: `${first}tornsecond\n`,
		stderr: `bg: ${mark}\n`,
	});
});
