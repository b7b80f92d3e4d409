// Runs before the first paint, so that a page in the dark never flashes white. 'light' and 'dark' override what the system says.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem('theme');
  } catch {
    // storage may be forbidden: the system's choice then holds
  }
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
})();
