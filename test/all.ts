/**
 * All tests: everything over the source, then the verbs over each form that ships.
 * Prints one line that counts them all, below the name of each that failed.
 */
const forms = [
	"bun bg.ts",
	"dist/bg",
	"bun dist/bg.mjs",
	"deno run -A dist/bg.mjs",
	"node dist/bg.mjs",
];

let passed = 0;
let failed = 0;
const names = new Set<string>();

for (const [index, form] of forms.entries()) {
	console.log(`testing ${form}`);
	const path = index === 0 ? "test" : "test/verbs";
	const run = Bun.spawn(["bun", "test", "--timeout", "60000", path], {
		env: { ...process.env, BG: form },
		stdout: "pipe",
		stderr: "pipe",
	});
	const [printed, text] = await Promise.all([
		new Response(run.stdout).text(),
		new Response(run.stderr).text(),
	]);
	process.stderr.write(`\n== ${form} ==\n${printed}${text}`);
	const count = (word: string) =>
		Number(new RegExp(`^\\s*(\\d+) ${word}$`, "m").exec(text)?.[1] ?? 0);
	passed += count("pass");
	for (const [, name] of text.matchAll(/^\(fail\) (.*)$/gm))
		names.add(`${form}: ${name}`);
	// A run that died without saying so has failed as well.
	failed += Math.max(count("fail"), (await run.exited) === 0 ? 0 : 1);
}

for (const name of names) console.log(`failed: ${name}`);
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
