import { describe, expect, test } from "bun:test";
import { loadVerbs } from "../../../lib/cli/verb.ts";
import { verbs } from "../../../lib/cli/verbs.ts";
import { concurrentTest } from "../../tools/concurrent.ts";
import { openPty } from "../../tools/pty.ts";
import { controlExamples } from "./control.ts";
import { inspectExamples } from "./inspect.ts";
import { maintainExamples } from "./maintain.ts";
import { startExamples } from "./start.ts";
import { type Example, openWorld, type World } from "./world.ts";

/** By line; a line of a verb's help that is not here fails. */
const examples: Record<string, Example> = {
	...startExamples,
	...inspectExamples,
	...controlExamples,
	...maintainExamples,
};

const lines = (await loadVerbs(verbs)).flatMap((verb) =>
	Object.keys(verb.examples).map((line) => [verb.name, line] as const),
);

test("the help of each verb has two examples or more", () => {
	const counts = Map.groupBy(lines, ([name]) => name);
	for (const name of Object.keys(verbs))
		expect([name, (counts.get(name)?.length ?? 0) >= 2]).toEqual([name, true]);
});

test("no example is run that the help does not have", () => {
	const known = lines.map(([, line]) => line);
	expect(Object.keys(examples).filter((line) => !known.includes(line))).toEqual(
		[],
	);
});

describe("an example of the help does what it says:", () => {
	concurrentTest.each(lines)("%s: %s", async (_, line) => {
		const example = examples[line];
		if (!example) throw new Error("it is not in the table of this file");
		const { before, during, check, shell = "sh", keys } = example;
		if (!Bun.which(shell)) {
			console.log(`not on PATH, so not tried: ${shell}`);
			return;
		}
		const world = openWorld();
		try {
			await before?.(world);
			const argv = [shell, "-c", scriptOf(line, shell)];
			const typed = keys ? typeIn(world, line, keys) : world.bg([], { argv });
			await during?.(world);
			const answer = await typed;
			if (!/doctor/.test(line))
				expect({ ...answer, stdout: "" }).toMatchObject({ code: 0 });
			await check(answer, world);
		} finally {
			if (world.alive().length) await world.bg(["cancel", "--all"]);
			// The process of a task that was completed by hand goes on.
			for (const { pid, command } of world.alive())
				if (command.startsWith("sleep ")) process.kill(pid);
		}
	});
});

/** Calls the program as `bg`, although it is a builtin of shells; a completion is asked for what it defined. */
function scriptOf(line: string, shell: string): string {
	if (shell === "bash") return `${line}; type bg; complete -p bg`;
	if (shell === "fish") return `${line}; complete -c bg`;
	if (shell !== "sh") return line.replace(/^eval /, "printf %s ");
	return `bg() { command env bg "$@"; }; ${line}`;
}

async function typeIn(world: World, line: string, keys: string) {
	const argv = ["sh", "-c", scriptOf(line, "sh")];
	const pty = openPty({ ...world, home: world.project }, [], { argv });
	await pty.untilScreen(/a long one/);
	pty.type(keys);
	const code = Number(await pty.ended);
	const stdout = pty.text();
	return { code, stdout, stderr: "", error: "", json: () => undefined };
}
