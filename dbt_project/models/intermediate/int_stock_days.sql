with

    movements as (select * from {{ ref("int_shop_stock_movements") }}),

    products as (

        select product_id, product_key, unit_cost_amount, valid_from, valid_to from {{ ref("int_product_versions") }}

    ),

    stores as (

        select store_id, time_zone, {{ surrogate_key(["store_id"]) }} as store_key from {{ ref("int_shop_stores") }}

    ),

    calendar as (select date_day from {{ ref("int_calendar_days") }}),

    offsets as (select time_zone, utc_date, offset_us from {{ ref("int_utc_offsets") }}),

    bounds as (

        select
            (select max(received_at) from movements) as newest_at,
            (select min(date_day) from calendar) as first_day,
            (select max(date_day) from calendar) as last_day

    ),

    -- a store's days: those of its time zone, up to the newest booking anywhere; so many as are kept
    open_days as (

        select
            moving.store_id,
            coalesce(stores.store_key, {{ unknown_key() }}) as store_key,
            coalesce(stores.time_zone, 'UTC') as time_zone,
            least(
                cast({{ local_time("bounds.newest_at", "coalesce(stores.time_zone, 'UTC')") }} as date), bounds.last_day
            ) as until_day,
            greatest(until_day - {{ var("inventory_days") }} + 1, bounds.first_day) as from_day
        from (select distinct store_id from movements) as moving
        left join stores on moving.store_id = stores.store_id
        cross join bounds

    ),

    -- a movement that was booked before it is said to have happened counts when it was booked
    happened as (

        select store_id, product_id, least(moved_at, received_at) as happened_at, reason_code, quantity_change
        from movements

    ),

    located as (

        select
            happened.*,
            open_days.from_day,
            {{ local_date("happened.happened_at", "open_days.time_zone", "offsets.offset_us") }} as local_date
        from happened
        inner join open_days on happened.store_id = open_days.store_id
        left join
            offsets
            on open_days.time_zone = offsets.time_zone
            and {{ utc_day("happened.happened_at") }} = offsets.utc_date

    ),

    -- what lies before the days that are kept is on hand on the first of them, and moved on none
    dated as (

        select
            store_id,
            product_id,
            greatest(local_date, from_day) as inventory_date,
            case when local_date >= from_day then reason_code end as reason_code,
            quantity_change
        from located

    ),

    moved as (

        select
            store_id,
            product_id,
            inventory_date,
            count(reason_code) as movement_count,
            sum(quantity_change) as quantity_change,
            sum(quantity_change) filter (where reason_code = 'delivery') as quantity_received,
            - sum(quantity_change) filter (where reason_code = 'sale') as quantity_sold,
            - sum(quantity_change) filter (where reason_code = 'waste') as quantity_wasted,
            sum(quantity_change) filter (where reason_code = 'count') as quantity_corrected,
            sum(quantity_change) filter (where reason_code = 'return') as quantity_returned
        from dated
        group by store_id, product_id, inventory_date

    ),

    shelves as (select store_id, product_id, min(inventory_date) as from_day from moved group by store_id, product_id),

    shelf_days as (

        select
            shelves.store_id,
            shelves.product_id,
            calendar.date_day as inventory_date,
            open_days.store_key,
            open_days.time_zone
        from shelves
        inner join open_days on shelves.store_id = open_days.store_id
        inner join calendar on calendar.date_day between shelves.from_day and open_days.until_day

    ),

    -- the instant at which a day ends, worked out once per time zone
    day_ends as (

        select time_zone, inventory_date, cast(inventory_date + 1 as timestamp) at time zone time_zone as ended_at
        from (select distinct time_zone, inventory_date from shelf_days)

    ),

    -- the version of an article that holds at the end of a day, worked out once per time zone
    article_days as (

        select
            articles.product_id,
            day_ends.time_zone,
            day_ends.inventory_date,
            products.product_key,
            products.unit_cost_amount
        from (select distinct product_id from shelves) as articles
        cross join day_ends
        inner join
            products
            on articles.product_id = products.product_id
            and products.valid_from < day_ends.ended_at
            and products.valid_to >= day_ends.ended_at

    ),

    filled as (

        select
            shelf_days.store_id,
            shelf_days.product_id,
            shelf_days.inventory_date,
            shelf_days.store_key,
            shelf_days.time_zone,
            cast(
                sum(moved.quantity_change) over (
                    partition by shelf_days.store_id, shelf_days.product_id order by shelf_days.inventory_date
                ) as bigint
            ) as quantity_on_hand,
            {% for flow in ["received", "sold", "wasted", "corrected", "returned"] %}
                cast(coalesce(moved.quantity_{{ flow }}, 0) as bigint) as quantity_{{ flow }},
            {% endfor %}
            coalesce(moved.movement_count, 0) as movement_count
        from shelf_days
        left join
            moved
            on shelf_days.store_id = moved.store_id
            and shelf_days.product_id = moved.product_id
            and shelf_days.inventory_date = moved.inventory_date

    ),

    final as (

        select
            {{ date_key("filled.inventory_date") }} as date_key,
            filled.inventory_date,
            filled.store_key,
            coalesce(article_days.product_key, {{ unknown_key() }}) as product_key,
            filled.store_id,
            filled.product_id,
            filled.quantity_on_hand,
            filled.quantity_received,
            filled.quantity_sold,
            filled.quantity_wasted,
            filled.quantity_corrected,
            filled.quantity_returned,
            filled.movement_count,
            article_days.unit_cost_amount,
            cast(
                greatest(filled.quantity_on_hand, 0) * article_days.unit_cost_amount as decimal(18, 2)
            ) as stock_value_amount,
            filled.quantity_on_hand <= 0 as is_out_of_stock
        from filled
        left join
            article_days
            on filled.product_id = article_days.product_id
            and filled.time_zone = article_days.time_zone
            and filled.inventory_date = article_days.inventory_date

    )

select *
from final
