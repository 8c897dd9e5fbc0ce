import { expect, test } from "bun:test";
import { sandbox } from "../tools/harness.ts";

test("of a long chain each task names the one before it and the first cause", async () => {
	const box = sandbox();
	const lines = Array.from({ length: 60 }, (_, index) =>
		JSON.stringify({
			name: `t${index}`,
			description: `task ${index}`,
			command: ["sh", "-c", "exit 3"],
			...(index && { after: `t${index - 1}` }),
		}),
	);
	const flags = ["launch", "-q", "--batch", "-"];
	const { stdout } = await box.bg(flags, { input: lines.join("\n") });
	const ids = stdout.trim().split("\n");
	expect((await box.bg(["wait", ...ids])).code).toBe(1);
	const [first, second] = ids;
	expect(box.record(second ?? "").error).toBe(
		`not started: ${first} ended as error (exited 3)`,
	);
	for (const [index, id] of ids.entries()) {
		if (index < 2) continue;
		expect(box.record(id)).toMatchObject({
			reason: "dependency",
			error: `not started: ${ids[index - 1]} ended as error; first cause: ${first} ended as error (exited 3)`,
		});
	}
});
