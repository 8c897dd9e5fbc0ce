import { expect, test } from "bun:test";
import { insertProgramCommand } from "../../lib/process/self.ts";

const words = ["run", "list", "wait", "hook", "--help"];

test.each([
	['no task "x" (bg list shows them)', 'no task "x" (/b/bg list shows them)'],
	["only a droid: bg run x", "only a droid: /b/bg run x"],
	["none (bg list, bg wait)", "none (/b/bg list, /b/bg wait)"],
	["none (bg run and bg list)", "none (/b/bg run and /b/bg list)"],
	["no verb (bg --help)", "no verb (/b/bg --help)"],
	...[
		"bg list has no flag --x",
		"(call bg as that user)",
		": bg did not write it",
		"(bg hook-complete does)",
		"(bg lists)",
		"then dist/bg list",
		"a folder for bg alone",
	].map((same) => [same, same]),
] as [string, string][])("%j becomes %j", (message, named) => {
	expect(insertProgramCommand(message, words, "/b/bg")).toBe(named);
});

test("a path is used unchanged", () => {
	const path = "'/b $& $1/bg'";
	expect(insertProgramCommand("(bg list)", words, path)).toBe(`(${path} list)`);
});
