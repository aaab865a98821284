// Hands on the keyboard alone: nothing here touches a mouse, and whatever has the focus shows it.

import type { Locator, Page } from "@playwright/test";
import { expect, PASSWORD, settled, test } from "./setup";

/** Nothing on these pages is further away. */
const STOPS_MAX = 90;

/** Goes from stop to stop until `to` has the focus, and looks whether that can be seen. */
async function reach(page: Page, to: Locator): Promise<void> {
  await to.waitFor();
  for (let stop = 0; stop < STOPS_MAX; stop += 1) {
    if (await to.evaluate((element) => element === document.activeElement)) {
      const outline = await to.evaluate((element) => getComputedStyle(element).outlineStyle + getComputedStyle(element.parentElement ?? element).outlineStyle);
      expect(outline).toMatch(/solid|auto/);
      return;
    }
    await page.keyboard.press("Tab");
  }
  throw new Error(`${to} is not reached with Tab`);
}

/** Opens the menu that has the focus and walks to an item. */
async function pick(page: Page, item: string): Promise<void> {
  await page.keyboard.press("Enter");
  const wanted = page.getByRole("menuitem", { name: item, exact: true });
  await wanted.waitFor();
  while (!(await wanted.evaluate((element) => element === document.activeElement))) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
}

test("a key is made, changed and revoked, a request opened and replayed, with the keyboard alone", async ({ page, fake }) => {
  await page.goto(`${fake.url}/dashboard`);
  await reach(page, page.getByLabel("User name"));
  await page.keyboard.type("admin");
  await reach(page, page.getByLabel("Password"));
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press("Enter");
  await page.locator("main h1", { hasText: "Overview" }).waitFor({ state: "attached" });
  await settled(page);

  // To the content without the rail in between.
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "To the content" })).toBeFocused();
  await page.keyboard.press("Enter");

  await page.keyboard.press("g");
  await page.keyboard.press("k");
  await expect(page).toHaveURL(/keys$/);
  await settled(page);
  await reach(page, page.getByRole("button", { name: "Create a key" }));
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog");
  await expect(dialog.getByLabel("Name", { exact: true })).toBeFocused();
  await page.keyboard.type("by hand");
  await reach(page, dialog.getByLabel("Requests a minute"));
  await page.keyboard.type("12");
  await reach(page, dialog.getByRole("button", { name: "Create", exact: true }));
  await page.keyboard.press("Enter");
  await reach(page, page.getByRole("button", { name: "I have copied it" }));
  await page.keyboard.press("Enter");
  await expect(page.getByRole("row", { name: /by hand/ })).toContainText("12 req/min");

  await reach(page, page.getByRole("button", { name: "Actions for by hand" }));
  await pick(page, "Edit");
  await reach(page, dialog.getByLabel("Requests a minute"));
  await page.keyboard.press("Control+a");
  await page.keyboard.type("34");
  await reach(page, dialog.getByRole("button", { name: "Save" }));
  await page.keyboard.press("Enter");
  await expect(page.getByRole("row", { name: /by hand/ })).toContainText("34 req/min");

  await reach(page, page.getByRole("button", { name: "Actions for by hand" }));
  await pick(page, "Revoke");
  await reach(page, dialog.getByLabel("Type by hand to confirm"));
  await page.keyboard.type("by hand");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("row", { name: /by hand/ })).toHaveCount(0);
  expect(fake.state.keys.some(({ name }: { name: string }) => name === "by hand")).toBe(false);

  await page.keyboard.press("g");
  await page.keyboard.press("r");
  await page.locator("main h1", { hasText: "Requests" }).waitFor({ state: "attached" });
  await settled(page);
  await page.keyboard.press("/");
  await page.keyboard.type("chat");
  await expect(page).toHaveURL(/q=chat/);
  await page.keyboard.press("Escape");
  await settled(page);
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  await expect(page.locator("tbody tr").first()).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/requests\/.+/);
  await reach(page, page.getByRole("tab", { name: "Overview" }));
  await page.keyboard.press("ArrowRight");
  await expect(page.getByRole("tab", { name: "Decision" })).toBeFocused();
  await expect(page.getByRole("table", { name: "Candidates" }).or(page.getByText("Nothing could have answered"))).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page).toHaveURL(/requests$/);

  await page.keyboard.press("g");
  await page.keyboard.press("p");
  await reach(page, page.getByLabel("Message"));
  await page.keyboard.type("What is quicksort?");
  await page.keyboard.press("Enter");
  await expect(page.getByText(/until nothing is left to move/)).toBeVisible();
});

test("a menu is not cut off by the table that it stands in, and closes when that moves", async ({ page, fake }) => {
  await page.request.post(`${fake.url}/api/auth/login`, { data: { username: "admin", password: PASSWORD } });
  await page.goto(`${fake.url}/dashboard/nodes?q=boreas`);
  await settled(page);
  await expect(page.locator("tbody tr")).toHaveCount(1);
  await page.getByRole("button", { name: /^Actions for/ }).click();
  const menu = page.getByRole("menu");
  for (const item of await menu.getByRole("menuitem").all()) {
    const seen = await item.evaluate((element) => {
      const { x, y, width, height } = element.getBoundingClientRect();
      return document.elementFromPoint(x + width / 2, y + height / 2) === element;
    });
    expect(seen, await item.innerText()).toBe(true);
  }
  await page.setViewportSize({ width: 1300, height: 700 });
  await expect(menu).toHaveCount(0);
});
