with

    movements as (

        select store_id, product_id, sum(quantity_change) as quantity_on_hand
        from {{ ref("int_shop_stock_movements") }}
        group by store_id, product_id

    ),

    days as (

        select
            *,
            lag(quantity_on_hand) over shelves as quantity_before,
            lead(inventory_date) over shelves is null as is_newest
        from {{ ref("fct_inventory_daily") }}
        window shelves as (partition by store_id, product_id order by inventory_date)

    ),

    broken_days as (

        select store_id, product_id, inventory_date, quantity_on_hand
        from days
        where
            quantity_on_hand
            <> quantity_before
            + quantity_received
            - quantity_sold
            - quantity_wasted
            + quantity_corrected
            + quantity_returned

    ),

    broken_sums as (

        select movements.store_id, movements.product_id, days.inventory_date, movements.quantity_on_hand
        from movements
        left join
            days on movements.store_id = days.store_id and movements.product_id = days.product_id and days.is_newest
        where days.quantity_on_hand is distinct from movements.quantity_on_hand

    )

select *
from broken_days
union all
select *
from broken_sums
